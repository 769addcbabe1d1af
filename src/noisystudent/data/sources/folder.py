"""Images in a folder: with a folder for each class when labeled, nested in any way when not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from noisystudent.data.source import NO_LABEL, Record, cut_shards, says_too_large, shard_slice
from noisystudent.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
_SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validation", "labeled", "unlabeled"}
_SAMPLE_BYTES = 4096  # read from either end of a file for the fingerprint


class FolderSource:
    """The images below a folder; keys are paths relative to it, with ``/``, in the order of their text.

    Labeled, every image lies in a folder that names its class (``folder/<class>/**/image.jpg``) and the
    classes are in the order of their text. Unlabeled, images lie anywhere below the folder. Names that
    begin with a dot are passed over, as is every symbolic link that leads out of the folder or to a folder
    (``ignored_links`` counts them). Raises ``DataError`` for a folder that is missing, empty or, when
    labeled, not made of class folders.
    """

    def __init__(self, folder: str | Path, *, labeled: bool) -> None:
        self.name = str(folder)
        self._root = Path(folder).expanduser()
        if not self._root.is_dir():
            raise DataError(f"There is no folder {self.name!r}. Give the path of a folder that exists.")
        found = _find_images(self._root)
        self.ignored_links: int = found.ignored_links
        self._paths = dict(sorted(found.paths.items()))
        self._keys = tuple(self._paths)
        self.classes: tuple[str, ...] | None = None
        if labeled:
            self.classes = self._class_folders(found)
        if not self._keys:
            raise DataError(
                f"The folder {self.name!r} holds no images{found.passed_over()}. "
                f"Put images there that end in {', '.join(SUFFIXES)}."
            )
        self.shard_sizes: tuple[int, ...] = cut_shards(len(self._keys))
        self.files: Mapping[str, str] = {}

    def _class_folders(self, found: _Found) -> tuple[str, ...]:
        """The classes: the folders directly below the root, each of which must hold an image."""
        loose = [key for key in self._keys if "/" not in key]
        if loose:
            raise DataError(
                f"{len(loose)} images lie directly in the labeled folder {self.name!r}, for example "
                f"{loose[0]!r}, and so have no class. Move each into a folder named after its class, or give "
                "the folder as unlabeled."
            )
        filled = {key.split("/", 1)[0] for key in self._keys}
        empty = sorted(set(found.folders) - filled)
        if empty:
            raise DataError(
                f"The class folder {empty[0]!r} in {self.name!r} holds no images{found.passed_over()}. Put "
                f"images there that end in {', '.join(SUFFIXES)}, or remove the folder."
            )
        classes = tuple(sorted(filled))
        if classes and all(name.lower() in _SPLIT_NAMES for name in classes):
            raise DataError(
                f"The labeled folder {self.name!r} holds {', '.join(map(repr, classes))}, which look like "
                "parts of a data set, not like classes. Give one part, for example "
                f"{os.path.join(self.name, classes[-1])!r}."
            )
        if len(classes) < 2:
            raise DataError(
                f"The labeled folder {self.name!r} has {len(classes)} class folders"
                f"{f' ({classes[0]!r})' if classes else ''}, and at least 2 are needed. Make one folder for "
                "each class and put its images there."
            )
        return classes

    @cached_property
    def fingerprint(self) -> str:
        """Changes when an image is added, removed, renamed or rewritten (its size, first or last 4 KiB)."""
        total = hashlib.sha256(f"folder\0{self.classes}".encode())
        for key, path in self._paths.items():
            total.update(f"\0{key}\0".encode())
            total.update(_file_digest(path))
        return total.hexdigest()

    def read(self, shard: int) -> Iterator[Record]:
        """The records of one shard; a file that cannot be read says so in ``problem``."""
        labels = {name: label for label, name in enumerate(self.classes or ())}
        for key in self._keys[shard_slice(shard)]:
            label = labels[key.split("/", 1)[0]] if self.classes else NO_LABEL
            content, problem = _read_file(self._paths[key])
            yield Record(key, content, label, problem)

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """The first folder of each key, for reports only, or None unless each is one of ``classes``."""
        first_folders = {key: key.split("/", 1)[0] for key in self._keys if "/" in key}
        complete = len(first_folders) == len(self._keys) and set(first_folders.values()) <= set(classes)
        return first_folders if complete else None


@dataclass
class _Found:
    """What a walk through a folder met."""

    paths: dict[str, Path] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)  # directly below the root
    other_files: int = 0
    ignored_links: int = 0

    def passed_over(self) -> str:
        """What else was there, in words for a message about missing images."""
        parts = []
        if self.other_files:
            parts.append(f"{self.other_files} files with other endings")
        if self.ignored_links:
            parts.append(f"{self.ignored_links} symbolic links that lead out of the folder or to a folder")
        return f" (passed over: {' and '.join(parts)})" if parts else ""


def _find_images(root: Path) -> _Found:
    """Every image below ``root`` by key, walking without recursion so that depth is no limit."""
    found = _Found()
    real_root = root.resolve()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as listing:
                entries = [entry for entry in listing if not entry.name.startswith(".")]
        except OSError as error:
            raise DataError(
                f"The folder {str(folder)!r} cannot be read ({error.strerror}). Check its permissions."
            ) from error
        for entry in entries:
            path = Path(entry.path)
            if entry.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(real_root)):
                found.ignored_links += 1
            elif entry.is_dir():
                waiting.append(path)
                if folder == root:
                    found.folders.append(_printable(entry.name))
            elif entry.is_file() and path.suffix.lower() in SUFFIXES:
                _add_image(found, root, path)
            else:
                found.other_files += 1
    return found


def _add_image(found: _Found, root: Path, path: Path) -> None:
    key = _printable(path.relative_to(root).as_posix())
    if key in found.paths:
        raise DataError(
            f"Two files in {str(root)!r} have the same name {key!r} once written as UTF-8. Rename one of them."
        )
    found.paths[key] = path


def _printable(name: str) -> str:
    """``name`` as text that UTF-8 can hold: any other byte of a file name becomes its escape."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _read_file(path: Path) -> tuple[bytes, str]:
    """The bytes of a file and an empty text, or no bytes and the reason."""
    try:
        problem = says_too_large(path.stat().st_size)
        return (b"", problem) if problem else (path.read_bytes(), "")
    except OSError as error:
        return b"", f"the file cannot be read ({error.strerror})"


def _file_digest(path: Path) -> bytes:
    """A digest of the size of a file and of its first and last 4 KiB."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            ends = file.read(_SAMPLE_BYTES)
            file.seek(max(0, size - _SAMPLE_BYTES))
            ends += file.read(_SAMPLE_BYTES)
    except OSError:
        size, ends = -1, b""
    return hashlib.sha256(f"{size}\0".encode() + ends).digest()
