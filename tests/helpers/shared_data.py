"""The real images in ../shared/data, unpacked once into the git-ignored .data/."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SHARED = PROJECT.parent / "shared" / "data"
UNPACKED = PROJECT / ".data"


def shared_file(name: str) -> Path:
    """The path of a file in ../shared/data; skips the test if it is missing."""
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"needs {path}, which is not on this machine")
    return path


def unpack(name: str) -> Path:
    """The folder of images in ``name``.tar.xz, unpacked on first use; skips the test if it is missing."""
    folder = UNPACKED / name
    if not folder.is_dir():
        archive = shared_file(f"{name}.tar.xz")
        UNPACKED.mkdir(exist_ok=True)
        # Unpacked elsewhere and then renamed, so that a killed test run leaves no incomplete data set.
        unfinished = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=UNPACKED))
        try:
            with tarfile.open(archive) as tar:
                tar.extraction_filter = getattr(tarfile, "data_filter", None)  # from Python 3.11.4 on
                tar.extractall(unfinished)
            if not folder.is_dir():
                os.replace(unfinished / name, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder
