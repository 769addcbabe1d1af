"""The lock file of a folder, which also marks the folder as this program's own."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

from noisystudent.artifacts.folder import LOCK
from noisystudent.errors import ArtifactError

MARK = "noisystudent\n"  # the content of a lock file


def open_lock(folder: Path) -> IO[str]:
    """Opens the lock file of a folder, with this program's mark in it; its content is never cut off.

    Raises ``ArtifactError`` if the lock file is a symbolic link or no plain file: it could lead to a file of the user.
    """
    path = folder / LOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if path.is_symlink():
            raise ArtifactError(f"{path} is a symbolic link, which noisystudent never makes; remove it.") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ArtifactError(f"{path} is no plain file, which a lock of noisystudent is; remove it.")
    lock = os.fdopen(descriptor, "r+")
    if not os.fstat(descriptor).st_size:
        lock.write(MARK)
        lock.flush()
    return lock
