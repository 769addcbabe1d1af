"""Where the parts of a published set lie: folders or arrays with known names, as the archives unpack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisystudent.errors import DataError, nearest_name

LABELS = "labels"  # the name of the array of labels, which is no part
_NAMES_SHOWN = 10


@dataclass(frozen=True)
class Parts:
    """The parts of a set that are there, by name: files ``NAME.npy`` when ``arrays``, else folders.

    ``ignored`` are the names of what lies beside them, sorted.
    """

    name: str
    places: Mapping[str, Path]
    arrays: bool
    ignored: tuple[str, ...]


def find_parts(root: str | Path, known: Sequence[str], setting: str) -> Parts:
    """The parts of the set in the folder ``root`` whose names are ``known``; ``setting`` is what gave the folder.

    Folders lie in the root or one folder deeper (``noise/gaussian_noise``), arrays in the root. Raises ``DataError``
    where there is none, or one of a name twice.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise DataError(f"There is no folder {str(root)!r}, which {setting} names. Give the folder of an unpacked set.")
    files = {path.stem: path for path in _visible(folder) if path.suffix == ".npy" and path.is_file()}
    if not files.keys().isdisjoint(known):
        strangers = [name for name in files if name not in (*known, LABELS)]
        strangers += [path.name for path in _visible(folder) if path.is_dir()]
        places = {name: files[name] for name in known if name in files}
        return Parts(str(root), places, True, tuple(sorted(strangers)))
    found, ignored = _named_folders(folder, known)
    if not found:
        raise DataError(_says_no_set(root, setting, known, [*files, *ignored]))
    return Parts(str(root), {name: found[name] for name in known if name in found}, False, tuple(sorted(ignored)))


def _named_folders(root: Path, known: Sequence[str]) -> tuple[dict[str, Path], list[str]]:
    """Folders with known names in the root and in its other folders, and the names of the others."""
    found: dict[str, Path] = {}
    ignored = []
    for path in _visible(root):
        if path.is_dir():
            inner = [] if path.name in known else [each for each in _visible(path) if each.is_dir()]
            named = [each for each in inner if each.name in known]
            for part in named or [path]:
                if part.name not in known:
                    ignored.append(part.name)
                elif part.name in found:
                    raise DataError(_says_twice(root, found[part.name], part))
                else:
                    found[part.name] = part
            ignored += [f"{path.name}/{each.name}" for each in inner if named and each not in named]
    return found, ignored


def _visible(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))


def _says_twice(root: str | Path, one: Path, other: Path) -> str:
    if one.parent.name.isdecimal() and other.parent.name.isdecimal():
        advice = f"Severities lie in the folders of corruptions, as {one.name}/{one.parent.name}: move them there."
    else:
        advice = "Leave one of them."
    return f"{one.name!r} is in {str(root)!r} twice, as {str(one)!r} and {str(other)!r}. {advice}"


def _says_no_set(root: str | Path, setting: str, known: Sequence[str], present: Sequence[str]) -> str:
    shown = ", ".join(map(repr, present[:_NAMES_SHOWN]))
    more = f" and {len(present) - _NAMES_SHOWN} more" if len(present) > _NAMES_SHOWN else ""
    hints = (nearest_name(Path(name).name, known) for name in present)
    return (
        f"{str(root)!r}, which {setting} names, holds no part of a published set; it has {shown or 'no folders'}{more}."
        f"{next(filter(None, hints), '')} Parts are folders, there or one folder deeper, or .npy files of the names "
        f"{', '.join(known)}. Unpack the archives first."
    )


def map_array(path: Path) -> npt.NDArray[np.generic]:
    """A ``.npy`` file, mapped and not read; raises ``DataError`` for anything else, and for Python objects in it."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        # NumPy's own words are left out: of a file that is no array they advise to unpickle it.
        raise DataError(
            f"{str(path)!r} is no .npy file of plain numbers: it is damaged, or holds Python objects. Unpack it again."
        ) from error
    if not isinstance(found, np.ndarray):
        raise DataError(f"{str(path)!r} is an archive of arrays, not one .npy array. Save it with numpy.save.")
    return found
