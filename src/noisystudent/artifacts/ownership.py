"""Whose files are in an output folder: this program writes only into folders that are new, empty or its own.

A folder is this program's own if its lock file holds ``MARK``, if a stage was begun in it, or if it holds the
``run.json`` of a run (folders that were copied lose their hidden files).
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from noisystudent.artifacts.archives import foreign_message, own_hidden
from noisystudent.artifacts.folder import INPUTS, LOCK, MANIFEST, read_json
from noisystudent.artifacts.lock import MARK, open_lock
from noisystudent.errors import ArtifactError, SettingsError

_RUN_FACTS = {"version", "settings", "origins"}  # keys of a run's run.json
_MANIFEST_KEYS = {"format", "kind", "inputs", "files"}


def require_own_folder(folder: Path) -> None:
    """Raises unless ``folder`` can be written to: it is absent, empty, or this program's own.

    Raises:
        SettingsError: the folder, or a folder that it lies in, is a file.
        ArtifactError: the folder holds files that this program did not write.
    """
    require_no_file_above(folder)
    if _is_file(folder):
        raise SettingsError(f"--out {str(folder)!r} is a file, and a folder is written. Give another --out.")
    try:
        before = folder.stat()
        foreign = sorted(path.name for path in folder.iterdir() if not own_hidden(path.name))
        is_foreign = bool(foreign) and not _is_own(folder)
        if is_foreign and os.path.samestat(before, folder.stat()):
            raise ArtifactError(foreign_message(folder, foreign))
    except FileNotFoundError:  # it is absent, or another process has just archived it
        return
    if is_foreign:  # another process has put a new folder in its place
        require_own_folder(folder)


def require_no_file_above(path: Path) -> None:
    """Raises ``SettingsError`` if a folder that ``path`` lies in is a file."""
    above = next((parent for parent in path.parents if _is_file(parent)), None)
    if above is not None:
        raise SettingsError(f"--out {str(path)!r} lies in {str(above)!r}, which is a file. Give another --out.")


def own_folder(folder: Path) -> None:
    """Makes ``folder`` this program's own; raises what ``require_own_folder`` raises."""
    require_own_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    open_lock(folder).close()


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Locks an output folder for this process during the block, and removes what killed processes left half-written.

    Raises:
        SettingsError: the folder is a file.
        ArtifactError: another process holds the lock, or the folder holds files that this program did not write.
    """
    require_own_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open_lock(folder) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtifactError(
                f"another process is working in {folder}; wait for it, stop it, or give another --out."
            ) from None
        _remove_temporary_files(folder)
        yield


def _remove_temporary_files(folder: Path) -> None:
    """Removes every half-written file; while the folder is locked, no other process writes one."""
    for path in folder.rglob(".*.tmp"):
        path.unlink(missing_ok=True)


def _is_file(path: Path) -> bool:
    """Whether anything but a folder is at ``path``: asked once, because another process may move a folder meanwhile."""
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_own(folder: Path) -> bool:
    return (
        _is_marked(folder)
        or _has_keys(folder / MANIFEST, _MANIFEST_KEYS)
        or _has_keys(folder / "run.json", _RUN_FACTS)
        or ((folder / LOCK).is_file() and _has_keys(folder / INPUTS, set()))
    )


def _is_marked(folder: Path) -> bool:
    lock = folder / LOCK
    if lock.is_symlink() or not lock.is_file():
        return False
    with lock.open("rb") as file:
        return file.read(len(MARK)) == MARK.encode()


def _has_keys(path: Path, keys: set[str]) -> bool:
    """Whether a file holds a JSON object with these keys."""
    try:
        content = read_json(path)
    except (ArtifactError, OSError):
        return False
    return isinstance(content, dict) and keys <= content.keys()
