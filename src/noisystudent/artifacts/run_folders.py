"""The folder of a run whose user named none: ``runs/<name>-<number>``, the same for the same command, so it resumes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from noisystudent.artifacts.folder import fingerprint_of
from noisystudent.artifacts.ownership import own_folder

PARENT = Path("runs")
COMMAND = ".command"  # holds the fingerprint of the command that the folder was chosen for
_ROLES = {"labeled", "labels", "train", "training", "unlabeled", "images"}  # names that say nothing about the images
_LONGEST_NAME = 40


def name_of_source(source: str) -> str:
    """A folder's name for a run on a source: that of the folder which its images are about.

    Args:
        source: the source as the user typed it, such as ``photos/labeled``.

    Returns:
        Letters, digits, ``.``, ``_`` and ``-``; ``run`` where none is left.
    """
    parts = [part for part in re.split(r"[/\\:]+", source) if part not in ("", ".", "..")]
    while len(parts) > 1 and parts[-1].lower() in _ROLES:
        parts.pop()
    name = re.sub(r"\.(npz|parquet|csv|tar)$", "", parts[-1]) if parts else ""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:_LONGEST_NAME].strip(".-") or "run"


def choose_folder(command: str, values: Mapping[str, object], parent: Path = PARENT) -> Path:
    """The folder of a command that names none: the one that the same command got before, else the next free one.

    Args:
        command: the command.
        values: all that the user gave, by dotted name.
        parent: the folder of all runs.
    """
    source = values.get("labeled") or values.get("unlabeled") or ""
    name, wanted = name_of_source(str(source)), _identity(command, values)
    numbers = {}
    for path in parent.glob(f"{name}-*"):
        number = path.name.removeprefix(f"{name}-")
        if number.isascii() and number.isdigit():
            numbers[int(number)] = path
    for _, path in sorted(numbers.items()):
        if _kept(path) == wanted:
            return path
    return parent / f"{name}-{max(numbers, default=0) + 1}"


def keep_command(folder: Path, command: str, values: Mapping[str, object]) -> None:
    """Makes a chosen folder this program's own and notes its command; raises what ``own_folder`` raises."""
    own_folder(folder)
    (folder / COMMAND).write_text(_identity(command, values) + "\n", encoding="ascii")


def _identity(command: str, values: Mapping[str, object]) -> str:
    return fingerprint_of([command, sorted((name, str(value)) for name, value in values.items())])


def _kept(folder: Path) -> str:
    try:
        return (folder / COMMAND).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
