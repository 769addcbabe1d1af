"""Finds the parts of a published set: folders or arrays with known names, in the layout of the archives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisystudent.errors import DataError, nearest_name

LABELS = "labels"  # name of the array of labels, which is not a part
_NAMES_SHOWN = 10


@dataclass(frozen=True)
class Parts:
    """The parts of a published set on disk.

    Attributes:
        name: the folder of the set, as given.
        paths: the path of each part, by name: a file ``NAME.npy`` or a folder.
        arrays: whether the parts are ``.npy`` files.
        ignored: the sorted names of other files and folders beside the parts.
    """

    name: str
    paths: Mapping[str, Path]
    arrays: bool
    ignored: tuple[str, ...]


def find_parts(root: str | Path, known: Sequence[str], setting: str) -> Parts:
    """Finds the parts of a published set.

    Folders are in the root or one level deeper (``noise/gaussian_noise``), arrays in the root.

    Args:
        root: the folder of the unpacked set.
        known: the names that parts may have.
        setting: the setting that names the folder, for messages.

    Returns:
        The parts found, in the order of ``known``.

    Raises:
        DataError: the folder does not exist, has no part, or has two parts of one name.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise DataError(f"There is no folder {str(root)!r}, which {setting} names. Give the folder of an unpacked set.")
    files = {path.stem: path for path in _visible(folder) if path.suffix == ".npy" and path.is_file()}
    if not files.keys().isdisjoint(known):
        ignored = [name for name in files if name not in (*known, LABELS)]
        ignored += [path.name for path in _visible(folder) if path.is_dir()]
        paths = {name: files[name] for name in known if name in files}
        return Parts(str(root), paths, True, tuple(sorted(ignored)))
    folders, ignored = _named_folders(folder, known)
    if not folders:
        raise DataError(_no_set_message(root, setting, known, [*files, *ignored]))
    return Parts(str(root), {name: folders[name] for name in known if name in folders}, False, tuple(sorted(ignored)))


def _named_folders(root: Path, known: Sequence[str]) -> tuple[dict[str, Path], list[str]]:
    """Folders with known names in the root and one level deeper, and the names of all other folders."""
    folders: dict[str, Path] = {}
    ignored = []
    for path in _visible(root):
        if path.is_dir():
            subfolders = [] if path.name in known else [inner for inner in _visible(path) if inner.is_dir()]
            parts = [inner for inner in subfolders if inner.name in known]
            for part in parts or [path]:
                if part.name not in known:
                    ignored.append(part.name)
                elif part.name in folders:
                    raise DataError(_duplicate_message(root, folders[part.name], part))
                else:
                    folders[part.name] = part
            ignored += [f"{path.name}/{inner.name}" for inner in subfolders if parts and inner not in parts]
    return folders, ignored


def _visible(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))


def _duplicate_message(root: str | Path, first: Path, second: Path) -> str:
    if first.parent.name.isdecimal() and second.parent.name.isdecimal():
        severity = f"{first.name}/{first.parent.name}"
        advice = f"Severities must be folders inside those of their corruptions, such as {severity}: move them there."
    else:
        advice = "Keep only one of them."
    return f"{first.name!r} is in {str(root)!r} twice, as {str(first)!r} and {str(second)!r}. {advice}"


def _no_set_message(root: str | Path, setting: str, known: Sequence[str], present: Sequence[str]) -> str:
    shown = ", ".join(map(repr, present[:_NAMES_SHOWN]))
    more = f" and {len(present) - _NAMES_SHOWN} more" if len(present) > _NAMES_SHOWN else ""
    hints = (nearest_name(Path(name).name, known) for name in present)
    return (
        f"{setting} names {str(root)!r}, which holds no part of a published set; it has {shown or 'no folders'}{more}."
        f"{next(filter(None, hints), '')} Parts are folders, in it or one level deeper, or .npy files with the names "
        f"{', '.join(known)}. Unpack the archives first."
    )


def map_array(path: Path) -> npt.NDArray[np.generic]:
    """Maps a ``.npy`` file into memory without reading it.

    Raises:
        DataError: the file is not a ``.npy`` array of plain numbers, for example because it holds Python objects.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        # NumPy's message is omitted: for a file that is not an array, it recommends unpickling.
        raise DataError(
            f"{str(path)!r} is not a .npy file of plain numbers: it is damaged, or holds Python objects. Unpack the "
            "archive again."
        ) from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{str(path)!r} is an archive of arrays, not one .npy array. Save it with numpy.save.")
    return array
