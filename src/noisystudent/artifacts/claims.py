"""Several processes in one folder: all work from the same inputs, and two seldom do the same work.

Claims are not needed for a correct result: two processes that do the same work write the same file, which appears once.
Claims only avoid the waste. So a claim need not be perfect, and is a plain file that any shared file system can hold.
Its owner renews it while it works. A claim has lapsed if its owner was a process of this machine that is gone, or if it
was not renewed for ``LEASE`` seconds by the clock of the file system; the clocks of machines may differ.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from noisystudent.artifacts.archives import must_archive_or_restore, prepare, require_unused
from noisystudent.artifacts.changes import in_words
from noisystudent.artifacts.damage import find_damage, reopen_damaged
from noisystudent.artifacts.folder import (
    LOCK,
    Inputs,
    State,
    atomic_write,
    begin,
    begun_inputs,
    differences,
    disk_full_as_error,
    state_of,
)
from noisystudent.artifacts.lock import open_lock
from noisystudent.artifacts.ownership import require_own_folder
from noisystudent.artifacts.temporary import remove_abandoned
from noisystudent.errors import ArtifactError, MismatchError

PATIENCE = 10.0  # seconds to wait for other processes that are opening the folder
LEASE = 120.0  # seconds after which a claim without renewal has lapsed; network file systems show times late
RENEWAL = 10.0  # seconds between renewals

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
_IN_USE = (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST)  # another process moved the folder, or filled it first


@dataclass(frozen=True)
class Entered:
    """A folder that this process shares with others.

    ``state``: of the folder; ``changes``: the differences of archived inputs to the new ones; ``damage``: the damaged
    files of the work that was complete, which are made again, and what was wrong with them.
    """

    state: State
    changes: tuple[str, ...] = ()
    damage: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def shared_folder(folder: Path, inputs: Inputs) -> Iterator[Entered]:
    """Prepares ``folder`` as ``prepare`` does, for several processes that work in it at once from the same inputs.

    Work from other inputs is archived, and damaged work is reopened, only while no other process works in the folder.
    The first process does it, and inputs are never mixed.

    Args:
        folder: the folder that the processes share.
        inputs: everything that the content depends on, as JSON values.

    Yields:
        The folder's state and what this process changed in it.

    Raises:
        MismatchError: other processes work in the folder from other inputs.
        ArtifactError: a process has locked the folder for itself, or work must be archived and the file system has no
            locks, or the folder holds files that this program did not write.
    """
    changes: list[str] = []
    damage: dict[str, str] = {}
    require_own_folder(folder)
    deadline = time.monotonic() + PATIENCE
    while (lock := _join(folder, inputs, changes, damage)) is None:
        if time.monotonic() > deadline:
            raise _blocked(folder, inputs)
        time.sleep(random.uniform(0.01, 0.1))  # random, so that the processes do not collide again
    with lock:
        yield Entered(state_of(folder, inputs), tuple(changes), damage)


def require_begun(folder: Path, inputs: Inputs) -> None:
    """Raises ``MismatchError`` unless ``folder`` is still begun with ``inputs``."""
    if state_of(folder, inputs) in (State.ABSENT, State.STALE):
        raise MismatchError(
            f"{folder} was moved away or begun from other inputs while this process worked in it; its latest work is "
            "discarded. Run the command again."
        )


@contextmanager
def claim(folder: Path, name: str, *, owner: str = "") -> Iterator[bool]:
    """Claims the work ``name`` during the block; yields False if another process has claimed it.

    Args:
        folder: the folder that the processes share.
        name: name of the work, such as that of a shard.
        owner: a description of this process, for people who read the claim.
    """
    path = folder / f".{name}.claim"
    mark = secrets.token_hex(6)
    text = json.dumps({"host": socket.gethostname(), "process": os.getpid(), "owner": owner, "mark": mark})
    if not _write_claim(path, text):
        yield False
        return
    done = threading.Event()
    renewal = threading.Thread(target=_renew, args=(path, done), daemon=True)
    renewal.start()
    try:
        yield True
    finally:
        done.set()
        renewal.join()
        if _content(path) == text:  # otherwise it had lapsed, and another process has taken it over
            path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Removes the temporary files that killed processes left in ``folder``, and claims that are older than a lease."""
    now = _now(folder)
    remove_abandoned(folder)
    for path in folder.glob(".*.claim"):
        with suppress(FileNotFoundError):
            if now - path.stat().st_mtime > LEASE:
                path.unlink()


def _join(folder: Path, inputs: Inputs, changes: list[str], damage: dict[str, str]) -> IO[str] | None:
    """Begins the folder with ``inputs`` and returns its shared lock; returns None while another process blocks it."""
    with ExitStack() as closing, suppress(FileNotFoundError):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:  # another process moved the folder away at this moment
            if folder.is_file():
                raise
            return None
        lock = closing.enter_context(open_lock(folder))
        # Checked without a lock: with one, processes that check would keep each other from archiving.
        if must_archive_or_restore(folder, inputs):
            if _locked(folder, lock, fcntl.LOCK_EX) and must_archive_or_restore(folder, inputs):
                changes += _archive_or_restore(folder, inputs)
        elif state_of(folder, inputs) is State.COMPLETE and find_damage(folder):
            if _locked(folder, lock, fcntl.LOCK_EX):
                damage |= reopen_damaged(folder, inputs)
        elif _locked(folder, lock, fcntl.LOCK_SH):
            require_unused(folder)
            begin(folder, inputs)
            if state_of(folder, inputs) is not State.STALE:
                closing.pop_all()
                return lock
    return None


def _archive_or_restore(folder: Path, inputs: Inputs) -> list[str]:
    """Runs ``prepare``; if another process has just made the folder again, does nothing, and the caller retries."""
    try:
        return prepare(folder, inputs)[1]
    except OSError as error:
        if error.errno not in _IN_USE:
            raise
        return []


def _locked(folder: Path, lock: IO[str], kind: int) -> bool:
    """Takes the lock and checks that its file is still in place, because its folder may have been archived."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        if kind == fcntl.LOCK_EX:
            raise ArtifactError(
                f"work in {folder} must be archived, restored or mended, but its file system has no locks to tell "
                "whether other processes use it; give another --out, or move it away yourself."
            ) from None
    return os.path.samestat(os.fstat(lock.fileno()), os.stat(folder / LOCK))


def _blocked(folder: Path, inputs: Inputs) -> ArtifactError:
    """The error of a process that cannot join the processes in the folder."""
    if state_of(folder, inputs) is State.STALE:
        changes = in_words(differences(begun_inputs(folder), dict(inputs)))
        more = f"; and {len(changes) - 5} more" if len(changes) > 5 else ""
        return MismatchError(
            f"other processes are working in {folder} from other inputs ({'; '.join(changes[:5])}{more}); stop them, "
            "or give another --out."
        )
    return ArtifactError(f"another process is working in {folder}; wait for it, stop it, or give another --out.")


def _write_claim(path: Path, text: str) -> bool:
    """Writes the claim unless another process has a valid one."""
    with disk_full_as_error(path):
        try:
            with path.open("x") as file:
                file.write(text)
            return True
        except FileExistsError:
            if not _lapsed(path):
                return False
        # Two processes that see it lapse at once may both take it over, which wastes work but does no harm.
        with atomic_write(path) as temporary:
            temporary.write_text(text)
    return True


def _lapsed(path: Path) -> bool:
    """Returns whether the owner of a claim is gone."""
    try:
        with path.open() as file:  # opened, because only then does a network file system ask its server again
            age = _now(path.parent) - os.fstat(file.fileno()).st_mtime
            owner = json.load(file)
            gone = owner["host"] == socket.gethostname() and not _is_running(owner["process"])
    except FileNotFoundError:
        return True
    except (ValueError, TypeError, KeyError):  # incomplete: its owner is writing it now, or was killed
        return age > LEASE
    return gone or age > LEASE


def _now(folder: Path) -> float:
    """Returns the time by the clock that stamps the files of ``folder``."""
    with tempfile.TemporaryFile(dir=folder, prefix=".now-", suffix=".tmp") as file:
        return os.fstat(file.fileno()).st_mtime


def _is_running(process: int) -> bool:
    """Returns whether another process of this machine exists."""
    if process == os.getpid():  # a restarted container: the number was that of an earlier process
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _renew(path: Path, done: threading.Event) -> None:
    while not done.wait(RENEWAL):
        with suppress(OSError):  # the claim was taken over or moved away
            os.utime(path)


def _content(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
