"""What an error says about a run of another version of this program."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import noisystudent
from noisystudent.errors import ArtifactError


@contextmanager
def note_of_version(folder: Path) -> Iterator[None]:
    """Adds to an ``ArtifactError`` which version wrote the run in ``folder``, where that is another one."""
    try:
        yield
    except ArtifactError as error:
        version, own = _version(folder), noisystudent.__version__
        if not version or version == own:
            raise
        raise ArtifactError(
            f"{error} The run is of version {version}, and this is noisystudent {own}: use that version to read it."
        ) from error


def _version(folder: Path) -> str:
    """The version in ``run.json``; empty where it cannot be read."""
    try:
        content = json.loads((folder / "run.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return ""
    version = content.get("version") if isinstance(content, dict) else None
    return version if isinstance(version, str) else ""
