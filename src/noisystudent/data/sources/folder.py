"""Images in a folder: with a subfolder per class if labeled, nested in any way if not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from noisystudent.data.source import NO_LABEL, PassedOver, Record, cut_shards, shard_slice, size_problem
from noisystudent.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
_SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validation", "labeled", "unlabeled"}
_SAMPLE_BYTES = 4096  # of each end of a file that the fingerprint covers


class FolderSource:
    """The images below a folder; the keys are sorted relative paths, with ``/``.

    If labeled, every image lies in a folder named after its class (``folder/<class>/**/image.jpg``), and the classes
    are sorted. If unlabeled, images lie anywhere below the folder. Names that begin with a dot are ignored, and so is
    every symbolic link that leads out of the folder or to a folder (``ignored_links`` counts the links). Raises
    ``DataError`` for a folder that is missing or empty, or, if labeled, does not consist of class folders.
    """

    def __init__(self, folder: str | Path, *, labeled: bool) -> None:
        self.name = str(folder)
        self._root = Path(folder).expanduser()
        if not self._root.is_dir():
            raise DataError(f"There is no folder {self.name!r}. Give the path of a folder that exists.")
        listing = _find_images(self._root)
        self.ignored_links: int = listing.ignored_links
        self._paths = dict(sorted(listing.paths.items()))
        self._keys = tuple(self._paths)
        self.classes: tuple[str, ...] | None = None
        if labeled:
            self.classes = self._class_folders(listing)
        if not self._keys:
            raise DataError(
                f"The folder {self.name!r} holds no images{listing.describe_ignored()}. "
                f"Put images there that end in {', '.join(SUFFIXES)}."
            )
        self.shard_sizes: tuple[int, ...] = cut_shards(len(self._keys))
        self.passed_over: tuple[PassedOver, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.files: Mapping[str, str] = {}

    def _class_folders(self, listing: _FolderListing) -> tuple[str, ...]:
        """The class names: the folders directly below the root, each of which must hold an image."""
        loose = [key for key in self._keys if "/" not in key]
        if loose:
            raise DataError(
                f"{len(loose)} images lie directly in the labeled folder {self.name!r}, for example "
                f"{loose[0]!r}, and so have no class. Move each into a folder named after its class, or give "
                "the folder as unlabeled."
            )
        filled = {key.split("/", 1)[0] for key in self._keys}
        empty = sorted(set(listing.folders) - filled)
        if empty:
            raise DataError(
                f"The class folder {empty[0]!r} in {self.name!r} holds no images{listing.describe_ignored()}. Put "
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
                f"{f' ({classes[0]!r})' if classes else ''}, and at least 2 are needed. Make one folder per "
                "class and put its images there."
            )
        return classes

    @cached_property
    def fingerprint(self) -> str:
        """Changes if an image is added, removed, renamed or rewritten (its size, first or last 4 KiB)."""
        total = hashlib.sha256(f"folder\0{self.classes}".encode())
        for key, path in self._paths.items():
            total.update(f"\0{key}\0".encode())
            total.update(_file_digest(path))
        return total.hexdigest()

    def read(self, shard: int) -> Iterator[Record]:
        """The records of one shard; an unreadable file has a ``problem``."""
        labels = {name: label for label, name in enumerate(self.classes or ())}
        for key in self._keys[shard_slice(shard)]:
            label = labels[key.split("/", 1)[0]] if self.classes else NO_LABEL
            content, problem = read_file(self._paths[key])
            yield Record(key, content, label, problem)

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """The top folder of each key, for reports only, or None unless each is one of ``classes``."""
        top_folders = {key: key.split("/", 1)[0] for key in self._keys if "/" in key}
        complete = len(top_folders) == len(self._keys) and set(top_folders.values()) <= set(classes)
        return top_folders if complete else None


@dataclass
class _FolderListing:
    """The result of a walk through a folder."""

    paths: dict[str, Path] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)  # directly below the root
    other_files: int = 0
    ignored_links: int = 0

    def describe_ignored(self) -> str:
        """The counts of ignored files and links, for a message about missing images."""
        parts = []
        if self.other_files:
            parts.append(f"{self.other_files} files with other endings")
        if self.ignored_links:
            parts.append(f"{self.ignored_links} symbolic links that lead out of the folder or to a folder")
        return f" (ignored: {' and '.join(parts)})" if parts else ""


def _find_images(root: Path) -> _FolderListing:
    """Every image below ``root`` by key; the walk uses no recursion, so the depth is not limited."""
    listing = _FolderListing()
    real_root = root.resolve()
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as scan:
                entries = [entry for entry in scan if not entry.name.startswith(".")]
        except OSError as error:
            raise DataError(
                f"The folder {str(folder)!r} cannot be read ({error.strerror}). Check its permissions."
            ) from error
        for entry in entries:
            path = Path(entry.path)
            if entry.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(real_root)):
                listing.ignored_links += 1
            elif entry.is_dir():
                pending.append(path)
                if folder == root:
                    listing.folders.append(_printable(entry.name))
            elif entry.is_file() and path.suffix.lower() in SUFFIXES:
                _add_image(listing, root, path)
            else:
                listing.other_files += 1
    return listing


def _add_image(listing: _FolderListing, root: Path, path: Path) -> None:
    key = _printable(path.relative_to(root).as_posix())
    if key in listing.paths:
        raise DataError(
            f"Two files in {str(root)!r} have the same name {key!r} once written as UTF-8. Rename one of them."
        )
    listing.paths[key] = path


def _printable(name: str) -> str:
    """``name`` as valid UTF-8: any other byte of a file name becomes an escape sequence."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read_file(path: Path) -> tuple[bytes, str]:
    """The bytes of an image file and an empty string, or no bytes and the reason why it cannot be read."""
    try:
        problem = size_problem(path.stat().st_size)
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
