"""Several processes in one folder: that all work from the same inputs, and that two seldom do the same piece of work.

Nothing here is needed for a right result. Two processes that do the same piece write the same file, and it appears
once; claims only spare the waste. So a claim need not be perfect, and is a plain file that any shared file system can
hold. It is renewed while its owner works. It has lapsed when the owner was a process of this machine that is gone, or
when it was not renewed for ``LEASE`` seconds by the clock of the file system itself: clocks of machines may differ.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from noisystudent.artifacts.folder import (
    INPUTS,
    LOCK,
    Inputs,
    State,
    atomic_write,
    begin,
    differences,
    disk_full_as_error,
    prepare,
    read_json,
    state_of,
    to_be_moved,
)
from noisystudent.errors import ArtifactError, MismatchError

PATIENCE = 10.0  # seconds to wait for others that are just opening the folder, too
LEASE = 120.0  # seconds after which a claim that is not renewed has lapsed: network file systems show times late
RENEWAL = 10.0  # seconds between renewals

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
_IN_USE = (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST)  # a folder was renamed under us, or filled before our rename


@contextmanager
def shared_folder(folder: Path, inputs: Inputs) -> Iterator[tuple[State, list[str]]]:
    """``prepare`` for one of several processes that work in ``folder`` at once, all from the same inputs.

    Work from other inputs is set aside only while no other process works in the folder: whoever comes first does it,
    and nothing is mixed. Raises ``MismatchError`` while others work there from other inputs, and ``ArtifactError``
    while a process holds the folder alone, or where work cannot be set aside because the file system has no locks.
    """
    changes: list[str] = []
    give_up = time.monotonic() + PATIENCE
    while (lock := _join(folder, inputs, changes)) is None:
        if time.monotonic() > give_up:
            raise _in_the_way(folder, inputs)
        time.sleep(random.uniform(0.01, 0.1))  # different for each, lest they meet again and again
    with lock:
        yield state_of(folder, inputs), changes


def require_begun(folder: Path, inputs: Inputs) -> None:
    """Raises ``MismatchError`` unless ``folder`` is still the one that was begun with ``inputs``."""
    if state_of(folder, inputs) in (State.ABSENT, State.STALE):
        raise MismatchError(
            f"{folder} was moved away or begun from other inputs while this process worked in it; what it had just "
            "made is dropped. Run the command again."
        )


@contextmanager
def claim(folder: Path, name: str, *, owner: str = "") -> Iterator[bool]:
    """Claims the piece of work ``name`` for the block; gives False when another process has it.

    ``owner`` is for people who look into the file. The claim is given back at the end of the block, however it ends.
    """
    path = folder / f".{name}.claim"
    mark = secrets.token_hex(6)
    text = json.dumps({"host": socket.gethostname(), "process": os.getpid(), "owner": owner, "mark": mark})
    if not _claimed(path, text):
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
        if _content(path) == text:  # not when it had lapsed and is another's by now
            path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Removes what killed processes left in ``folder``: claims and temporary files that have long been untouched."""
    now = _now(folder)
    for path in [*folder.glob(".*.tmp"), *folder.glob(".*.claim")]:
        with suppress(FileNotFoundError):
            if now - path.stat().st_mtime > LEASE:
                path.unlink()


def _join(folder: Path, inputs: Inputs, changes: list[str]) -> IO[str] | None:
    """The folder's lock, shared, with the folder begun with ``inputs``; None while something is in the way."""
    with ExitStack() as closing, suppress(FileNotFoundError):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:  # another moved it away just when it was seen to be there
            if folder.is_file():
                raise
            return None
        lock = closing.enter_context((folder / LOCK).open("a+"))
        # Looked at without a lock: otherwise those that look would keep each other from setting aside.
        if to_be_moved(folder, inputs):
            if _locked(lock, fcntl.LOCK_EX) and to_be_moved(folder, inputs):
                changes += _move(folder, inputs)
        elif _locked(lock, fcntl.LOCK_SH):
            begin(folder, inputs)
            if state_of(folder, inputs) is not State.STALE:
                closing.pop_all()
                return lock
    return None


def _move(folder: Path, inputs: Inputs) -> list[str]:
    """``prepare``, where another process may just have made the folder anew; then it is tried again."""
    try:
        return prepare(folder, inputs)[1]
    except OSError as error:
        if error.errno not in _IN_USE:
            raise
        return []


def _locked(lock: IO[str], kind: int) -> bool:
    """Whether the lock is held now, and still lies where it was opened: its folder may have been set aside."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        if kind == fcntl.LOCK_EX:
            raise ArtifactError(
                f"work in {Path(lock.name).parent} is to be set aside or brought back, but its file system has no "
                "locks to tell whether others use it; give another --out, or move it away yourself."
            ) from None
    return os.path.samestat(os.fstat(lock.fileno()), os.stat(lock.name))


def _in_the_way(folder: Path, inputs: Inputs) -> ArtifactError:
    """What keeps a process from joining those that work in the folder."""
    if state_of(folder, inputs) is State.STALE:
        found = differences(read_json(folder / INPUTS), dict(inputs))
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        return MismatchError(
            f"other processes are working in {folder} from other inputs ({'; '.join(found[:5])}{more}); stop them, or "
            "give another --out."
        )
    return ArtifactError(f"another process is working in {folder}; wait for it, stop it, or give another --out.")


def _claimed(path: Path, text: str) -> bool:
    """Writes the claim unless another's is in force."""
    with disk_full_as_error(path):
        try:
            with path.open("x") as file:
                file.write(text)
            return True
        except FileExistsError:
            if not _lapsed(path):
                return False
        # Two that find it lapsed at once may both take it. That is waste, not harm.
        with atomic_write(path) as temporary:
            temporary.write_text(text)
    return True


def _lapsed(path: Path) -> bool:
    """Whether the owner of a claim is gone."""
    try:
        with path.open() as file:  # opened, since network file systems only then look at the server again
            age = _now(path.parent) - os.fstat(file.fileno()).st_mtime
            owner = json.load(file)
            gone = owner["host"] == socket.gethostname() and not _runs(owner["process"])
    except FileNotFoundError:
        return True
    except (ValueError, TypeError, KeyError):  # not written to its end: its owner is just beginning, or was killed
        return age > LEASE
    return gone or age > LEASE


def _now(folder: Path) -> float:
    """The time by the clock that stamps the files of ``folder``."""
    with tempfile.TemporaryFile(dir=folder, prefix=".now-", suffix=".tmp") as file:
        return os.fstat(file.fileno()).st_mtime


def _runs(process: int) -> bool:
    """Whether another process of this machine exists; in a container that was restarted, the number may be ours."""
    if process == os.getpid():
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
        with suppress(OSError):  # it was taken over or moved away: nothing of ours to renew
            os.utime(path)


def _content(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
