"""Finds damage in finished artifacts: files that are missing, or are not what their manifest says.

A damaged artifact is reopened: the damaged files and the manifest go, the rest stays, and its stage makes again only
what is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from noisystudent.artifacts.folder import (
    MANIFEST,
    UNCHECKED,
    Inputs,
    Manifest,
    State,
    hash_file,
    parse_manifest,
    read_manifest,
    sample_of,
    state_of,
)
from noisystudent.errors import ArtifactError

MISSING, CHANGED = "is missing", "was changed after it was written"


def find_damage(folder: Path, *, full: Collection[str] | None = ()) -> dict[str, str]:
    """The damaged files of a finished artifact: what is wrong, by name.

    Every file is checked by its size and a sample of at most 64 KiB of its content, which costs little for any size.

    Args:
        folder: The folder of the artifact.
        full: The kinds of artifacts of which every byte is read instead; None: all kinds.
    """
    try:
        manifest = parse_manifest(folder)
    except ArtifactError:
        return {MANIFEST: "is damaged"}
    names = [*manifest.files, *(name for name in manifest.samples if name not in manifest.files)]
    is_full = full is None or manifest.kind in full
    problems = {name: _problem_of(folder / name, name, manifest, is_full=is_full) for name in names}
    return {name: problem for name, problem in problems.items() if problem}


def reopen_damaged(folder: Path, inputs: Inputs, *, full: Collection[str] | None = ()) -> dict[str, str]:
    """Checks the work in ``folder`` if it is complete, and reopens it if it is damaged.

    Returns:
        The damaged files and what was wrong with them, as ``find_damage`` returns them.
    """
    if state_of(folder, inputs) is not State.COMPLETE:
        return {}
    damage = find_damage(folder, full=full)
    if damage:
        (folder / MANIFEST).unlink(missing_ok=True)  # first: a kill in between leaves unfinished work, not damaged work
        for name in damage:
            (folder / name).unlink(missing_ok=True)
    return damage


def require_whole(folder: Path, kind: str, *, full: bool = False) -> Manifest:
    """Reads the manifest of a finished artifact and checks its files, every byte of them if ``full``.

    Raises:
        ArtifactError: the folder is no finished artifact of ``kind``, or a file in it is missing or damaged.
    """
    manifest = read_manifest(folder, kind)
    damage = find_damage(folder, full=None if full else ())
    if damage:
        name, problem = next(iter(damage.items()))
        raise ArtifactError(
            f"{folder / name} {problem}, so it is damaged. Run the command that made {folder} again: it makes again "
            f"what is damaged. If you changed the file on purpose, delete {MANIFEST} beside it."
        )
    return manifest


def describe_damage(damage: Mapping[str, str]) -> str:
    """The damage in one phrase: ``model.safetensors was changed after it was written``."""
    first = [f"{name} {problem}" for name, problem in list(damage.items())[:3]]
    return "; ".join([*first, f"and {len(damage) - 3} more files"] if len(damage) > 3 else first)


def _problem_of(path: Path, name: str, manifest: Manifest, *, is_full: bool) -> str:
    if manifest.samples.get(name) == UNCHECKED:
        return ""
    if not path.is_file():
        return MISSING
    if is_full and name in manifest.files:
        return "" if hash_file(path) == manifest.files[name] else CHANGED
    expected = manifest.samples.get(name)
    return CHANGED if expected is not None and sample_of(path) != expected else ""
