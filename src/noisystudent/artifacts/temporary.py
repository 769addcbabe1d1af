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
from contextlib import contextmanager, suppress
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
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def remove_abandoned(folder: Path) -> None:
    """Removes the half-written files in ``folder`` that killed processes left."""
    if folder.is_dir():
        for path in folder.glob(".*.tmp"):
            if is_abandoned(path):
                path.unlink(missing_ok=True)


def is_abandoned(path: Path) -> bool:
    """Whether a file is half-written, and no process writes it any more; False if it is gone."""
    name = _NAME.fullmatch(path.name)
    if name is None:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if time.time() - os.fstat(descriptor).st_mtime > ABANDONED:
            return True
        if name["kernel"] != _kernel():
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process holds the lock, or there are no locks
        return False
    finally:
        os.close(descriptor)
    return True


@cache
def _kernel() -> str:
    """Four hexadecimal digits that all processes under one running kernel share."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    identity = boot.read_text() if boot.is_file() else socket.gethostname()
    return hashlib.sha256(identity.encode()).hexdigest()[:4]
