"""Half-written files: a process locks each while it writes it, so that those of killed processes are known.

A lock on a shared file system is not always seen by other machines. So the name of a half-written file says which
kernel wrote it; files of other machines are known to be abandoned only by their age.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

ABANDONED = 3600.0  # seconds without a write, after which a file of another machine is abandoned

_NAME = re.compile(r"\..+\.(?P<kernel>[0-9a-f]{4})[0-9a-f]{8}\.tmp", re.DOTALL)


def half_written(path: Path) -> Path:
    """A new name beside ``path`` for its half-written version.

    A process number would not do: it can be equal on two machines or in two containers.
    """
    return path.absolute().with_name(f".{path.name}.{_kernel()}{secrets.token_hex(4)}.tmp")


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Creates a file and holds a lock on it during the block; where the file system has no locks, only creates it."""
    descriptor = _locked(path)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path) -> int:
    """Creates a file and locks it; once more where it was taken for abandoned, and removed, before it was locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits for one that looks whether it is abandoned
        except OSError:  # there are no locks
            return descriptor
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


def remove_abandoned(folder: Path) -> None:
    """Removes the half-written files in ``folder`` that killed processes left."""
    if folder.is_dir():
        for path in folder.glob(".*.tmp"):
            _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    """Removes a half-written file that no process writes any more, while it holds the lock of a writer."""
    name = _NAME.fullmatch(path.name)
    if name is None:
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if time.time() - os.fstat(descriptor).st_mtime <= ABANDONED:
            if name["kernel"] != _kernel():
                return
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except OSError:  # another process holds the lock, there are no locks, or the folder cannot be written
        return
    finally:
        os.close(descriptor)


@cache
def _kernel() -> str:
    """Four hexadecimal digits that all processes under one running kernel share."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    identity = boot.read_text() if boot.is_file() else socket.gethostname()
    return hashlib.sha256(identity.encode()).hexdigest()[:4]
