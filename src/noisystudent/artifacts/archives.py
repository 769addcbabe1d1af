"""Work from other inputs is archived beside its folder, under the fingerprint of its inputs, and restored from there.

Only this program's own files are moved: a folder that holds files of others is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from noisystudent.artifacts.folder import (
    INPUTS,
    LOCK,
    MANIFEST,
    Inputs,
    Json,
    State,
    begin,
    begun_inputs,
    differences,
    fingerprint_of,
    parse_manifest,
    state_of,
)
from noisystudent.artifacts.lock import open_lock
from noisystudent.errors import ArtifactError

# What this program hides in a folder: locks, half-written files, claims, matches of a shard.
_OWN_HIDDEN = re.compile(r"\.lock|\..+\.tmp|\..+\.claim|\.look-[0-9]+\.json")
_ARCHIVE = re.compile(r"\.[0-9a-f]{12}")


def prepare(folder: Path, inputs: Inputs) -> tuple[State, list[str]]:
    """Makes ``folder`` ready for ``inputs``.

    Work from other inputs is archived as ``<folder>.<fingerprint of its inputs>``, not deleted; archived work from
    these inputs is restored.

    Returns:
        The state of the folder, never stale, and the differences of the archived inputs to these.

    Raises:
        ArtifactError: the folder holds files that this program did not write.
    """
    changes: list[str] = []
    if state_of(folder, inputs) is State.STALE:
        before = begun_inputs(folder)
        changes = differences(before, dict(inputs))
        _require_only_own(folder)
        is_locked = (folder / LOCK).is_file()
        os.replace(folder, archive_of(folder, before))
        if is_locked:  # before anything else is in the new folder, which then is never taken for somebody else's
            folder.mkdir(parents=True, exist_ok=True)
            open_lock(folder).close()
    archived = archive_of(folder, dict(inputs))
    require_unused(folder)
    if archived.is_dir() and state_of(folder, inputs) is State.ABSENT:
        _remove_unused(folder)
        os.replace(archived, folder)
    begin(folder, inputs)
    return state_of(folder, inputs), changes


def archived_folders(folder: Path) -> list[Path]:
    """All folders below ``folder`` that hold archived work of this program, without those inside others."""
    found: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_dir() or any(parent in path.parents for parent in found):
            continue
        is_named = path.name[-13:-12] == "." and _ARCHIVE.fullmatch(path.name[-13:]) is not None
        if is_named and begun_inputs(path) is not None:
            found.append(path)
    return found


def must_archive_or_restore(folder: Path, inputs: Inputs) -> bool:
    """Returns whether ``prepare`` would archive other work or restore archived work."""
    state = state_of(folder, inputs)
    return state is State.STALE or (state is State.ABSENT and archive_of(folder, dict(inputs)).is_dir())


def require_unused(folder: Path) -> None:
    """Raises ``ArtifactError`` if ``folder`` was never begun, and holds files all the same: somebody else's."""
    if not folder.is_dir():
        return
    # Listed first: another process may begin the folder at any moment.
    foreign = sorted(path.name for path in folder.iterdir() if not own_hidden(path.name))
    if foreign and begun_inputs(folder) is None:
        raise ArtifactError(foreign_message(folder, foreign))


def own_hidden(name: str) -> bool:
    """Whether a file of this name is a lock, a claim or a half-written file of this program."""
    return _OWN_HIDDEN.fullmatch(name) is not None


def foreign_message(folder: Path, names: Sequence[str]) -> str:
    """The message about a folder that holds files of others."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        f"{folder} holds files that noisystudent did not write: {', '.join(names[:3])}{more}. Nothing was changed. "
        "Give another --out, or move them away."
    )


def _require_only_own(folder: Path) -> None:
    """Raises ``ArtifactError`` if a complete artifact that must be archived has got files of others.

    Of a partial one nothing lists the files.
    """
    if not (folder / MANIFEST).exists():
        return
    manifest = parse_manifest(folder)
    listed = {name.split("/")[0] for name in [*manifest.files, *manifest.samples]}
    foreign = [
        path.name
        for path in sorted(folder.iterdir())
        if path.name not in {MANIFEST, INPUTS, *listed}
        and not own_hidden(path.name)
        and not (path / INPUTS).exists()  # a stage within the stage
    ]
    if foreign:
        raise ArtifactError(foreign_message(folder, foreign))


def _remove_unused(folder: Path) -> None:
    """Removes a folder that holds nothing but a lock."""
    if not folder.is_dir():
        return
    (folder / LOCK).unlink(missing_ok=True)
    # Another process that opens the folder at this moment makes a new lock; then rmdir fails and is tried again.
    folder.rmdir()


def archive_of(folder: Path, inputs: Json) -> Path:
    """The folder that work in ``folder`` from these inputs is archived as."""
    return folder.with_name(f"{folder.name}.{fingerprint_of(inputs)[:12]}")


def archives_of(folder: Path) -> list[Path]:
    """The folders in which earlier work of ``folder`` from other inputs is kept."""
    return sorted(
        path
        for path in folder.parent.glob(f"{folder.name}.*")
        if _ARCHIVE.fullmatch(path.name.removeprefix(folder.name)) and path.is_dir()
    )


def describe_archives(folder: Path) -> str:
    """What is archived of ``folder`` and its size: ``the old one is kept as run/teacher.0123456789ab (2.0 MB)``."""
    archives = archives_of(folder)
    size = f"{sum(_size_of(archive) for archive in archives) / 1e6:,.1f} MB"
    if len(archives) == 1:
        return f"the old one is kept as {archives[0]} ({size})"
    return f"{len(archives)} old ones are kept as {folder}.* ({size} in all)"


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
