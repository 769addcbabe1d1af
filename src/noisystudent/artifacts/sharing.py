"""Finished work taken over from another folder, where a stage with the same inputs has been done before."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from noisystudent.artifacts.folder import MANIFEST, Inputs, State, atomic_write, begin, parse_manifest, state_of
from noisystudent.errors import ArtifactError


def take_over(folder: Path, inputs: Inputs, others: Sequence[Path]) -> Path | None:
    """Copies the first finished stage among ``others`` that has these inputs into ``folder``.

    The manifest is copied last, so a kill in between leaves unfinished work. Returns the folder that the work came
    from, or None where no other has it.

    Args:
        folder: The stage's own folder, begun with ``inputs`` and not finished.
        inputs: All that decides its content.
        others: Folders of the same stage elsewhere.
    """
    for other in others:
        with suppress(ArtifactError, FileNotFoundError):  # it is damaged, or another process is making it
            if state_of(other, inputs) is State.COMPLETE:
                _copy(other, folder, inputs)
                return other
    return None


def _copy(source: Path, folder: Path, inputs: Inputs) -> None:
    manifest = parse_manifest(source)
    begin(folder, inputs)
    for name in [*dict.fromkeys([*manifest.files, *manifest.samples]), MANIFEST]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / name) as temporary:
            shutil.copyfile(source / name, temporary)
