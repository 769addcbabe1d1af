"""Images in a folder: with a subfolder per class if labeled, nested in any way if not."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from noisystudent.data.formats import FIRST_SUFFIXES, PILLOW_FORMAT, missing_reader, readable_suffixes, suffix_of
from noisystudent.data.source import NO_LABEL, PassedOver, Record, cut_shards, printable, shard_slice, size_problem
from noisystudent.data.sources.labels import in_one_form, ordered
from noisystudent.data.tally import Tally, described
from noisystudent.errors import DataError

# Names that systems and their programs give to files and folders of their own, in lower case.
SYSTEM_NAMES = {
    *("@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found"),
    *("__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", "__pycache__"),
}
_SPLIT_NAMES = {
    *("train", "training", "test", "testing", "val", "valid", "validation", "eval", "holdout"),
    *("labeled", "unlabeled", "labelled", "unlabelled"),
}
_SAMPLE_BYTES = 4096  # of each end of a file that the fingerprint covers
_PLAIN_SUFFIX = re.compile(r"\.[a-z0-9_~+-]{1,12}")
_SUFFIXES_NAMED = 20  # files with further endings are counted together

_HIDDEN = "hidden files and folders"
_SYSTEM = "files and folders of the system"


class FolderSource:
    """The images below a folder; the keys are sorted relative paths, with ``/``.

    If labeled, every image lies in a folder named after its class (``folder/<class>/**/image.jpg``). The classes are
    sorted, by value if all are whole numbers; names are compared in Unicode's form NFC. If unlabeled, images lie
    anywhere below the folder. ``passed_over`` names everything else: files with other endings, hidden files, files and
    folders of the system, and symbolic links that lead out of the folder or to a folder. Raises ``DataError`` for a
    folder that is missing or empty, or, if labeled, does not consist of class folders.
    """

    def __init__(self, folder: str | Path, *, labeled: bool) -> None:
        self.name = printable(str(folder))
        self._root = Path(folder).expanduser()
        if not self._root.is_dir():
            raise DataError(f"There is no folder {self.name!r}. Give the path of a folder that exists.")
        listing = _find_images(self._root)
        self._paths = dict(sorted(listing.paths.items()))
        self._keys = tuple(self._paths)
        self.classes: tuple[str, ...] | None = None
        self.notes: tuple[str, ...] = ()
        if labeled:
            self.classes = self._class_folders(listing)
            self.notes = tuple(self._split_note(name) for name in self.classes if name.lower() in _SPLIT_NAMES)
        if not self._keys:
            raise DataError(
                f"The folder {self.name!r} holds no images{described(listing.tally.passed_over)}. "
                f"Put images there that end in {', '.join(readable_suffixes())}."
            )
        self.notes += _newer_formats_note(self._keys)
        self.shard_sizes: tuple[int, ...] = cut_shards(len(self._keys))
        self.passed_over: tuple[PassedOver, ...] = listing.tally.passed_over
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
        filled = {_top_folder(key) for key in self._keys}
        passed_over = described(listing.tally.passed_over)
        for folder in sorted(listing.folders):
            if in_one_form(folder) in filled:
                continue
            if folder in listing.folders_with_others:
                raise DataError(
                    f"The class folder {folder!r} in {self.name!r} holds no images{passed_over}. Put images there "
                    f"that end in {', '.join(readable_suffixes())}, or remove the folder."
                )
            listing.tally.add("class folders without an image", folder)
        classes = ordered(filled)
        if classes and all(name.lower() in _SPLIT_NAMES for name in classes):
            raise DataError(
                f"The labeled folder {self.name!r} holds {', '.join(map(repr, classes))}, which look like "
                "parts of a data set, not like classes. Give one part, for example "
                f"{os.path.join(self.name, classes[-1])!r}."
            )
        if len(classes) < 2:
            raise DataError(
                f"The labeled folder {self.name!r} has {len(classes)} class folders with images"
                f"{f' ({classes[0]!r})' if classes else ''}, and at least 2 are needed. Make one folder per "
                f"class and put its images there{passed_over}."
            )
        return classes

    def _split_note(self, name: str) -> str:
        return (
            f"the class folder {name!r} in {self.name!r} looks like a part of a data set, not like a class: move it "
            "out of the folder if it is not a class."
        )

    @cached_property
    def fingerprint(self) -> str:
        """Changes if an image is added, removed, renamed or rewritten (its size, first or last 4 KiB)."""
        total = hashlib.sha256(f"folder\0{self.classes}".encode())
        for key, path in self._paths.items():
            total.update(f"\0{key}\0".encode())
            total.update(file_digest(path))
        return total.hexdigest()

    def read(self, shard: int) -> Iterator[Record]:
        """The records of one shard; an unreadable file has a ``problem``."""
        return self.read_rows(shard, range(self.shard_sizes[shard]))

    def read_rows(self, shard: int, rows: Sequence[int]) -> Iterator[Record]:
        """The records of one shard at ``rows``, in that order; no other file is read."""
        labels = {name: label for label, name in enumerate(self.classes or ())}
        keys = self.keys(shard)
        for key in (keys[row] for row in rows):
            label = labels[_top_folder(key)] if self.classes else NO_LABEL
            content, problem = read_file(self._paths[key])
            yield Record(key, content, label, problem)

    def keys(self, shard: int) -> Sequence[str]:
        """The keys of one shard, in order."""
        return self._keys[shard_slice(shard)]

    def count_labels(self) -> list[int]:
        """The number of images per class, in the order of ``classes``."""
        counts = Counter(map(_top_folder, self._keys))
        return [counts[name] for name in self.classes or ()]

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """The top folder of each key, for reports only, or None unless each is one of ``classes``."""
        top_folders = {key: _top_folder(key) for key in self._keys if "/" in key}
        complete = len(top_folders) == len(self._keys) and set(top_folders.values()) <= set(classes)
        return top_folders if complete else None


@dataclass
class _FolderListing:
    """The result of a walk through a folder."""

    paths: dict[str, Path] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)  # directly below the root
    folders_with_others: set[str] = field(default_factory=set)  # of these, those with files that are passed over
    tally: Tally = field(default_factory=Tally)


def _find_images(root: Path) -> _FolderListing:
    """Every image below ``root`` by key; the walk uses no recursion, so the depth is not limited."""
    listing = _FolderListing()
    real_root = root.resolve()
    suffixes: set[str] = set()
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(
                f"The folder {printable(str(folder))!r} cannot be read ({error.strerror}). Check its permissions."
            ) from error
        folders = []
        for entry in entries:
            path = Path(entry.path)
            reason = _reason_to_pass_over(entry, path, real_root, suffixes)
            key = printable(path.relative_to(root).as_posix())
            if reason:
                listing.tally.add(reason, key)
                if folder != root and reason not in (_HIDDEN, _SYSTEM):
                    listing.folders_with_others.add(key.split("/", 1)[0])
            elif entry.is_dir():
                folders.append(path)
                if folder == root:
                    listing.folders.append(printable(entry.name))
            else:
                _add_image(listing, root, path)
        pending += reversed(folders)
    return listing


def _reason_to_pass_over(entry: os.DirEntry[str], path: Path, real_root: Path, suffixes: set[str]) -> str:
    """What kind of thing a folder's entry is if it is passed over; empty for images and folders.

    ``suffixes`` are the endings of other files that have been named so far.
    """
    if entry.name.startswith("."):
        return _HIDDEN
    if entry.name.lower() in SYSTEM_NAMES:
        return _SYSTEM
    if entry.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(real_root)):
        return "symbolic links that lead out of the folder or to a folder"
    if entry.is_dir():
        return ""
    if not entry.is_file():
        return "pipes, sockets and devices"
    suffix = suffix_of(entry.name)
    if suffix in PILLOW_FORMAT:
        problem = missing_reader(suffix)
        return f"files that end in {suffix} ({problem})" if problem else ""
    return of_other_files(suffix, suffixes)


def of_other_files(suffix: str, named: set[str]) -> str:
    """What to call files that are no images; ``named`` are the endings named so far, to which ``suffix`` is added."""
    if not suffix:
        return "files without an ending"
    if not _PLAIN_SUFFIX.fullmatch(suffix) or (suffix not in named and len(named) == _SUFFIXES_NAMED):
        return "files with other endings"
    named.add(suffix)
    return f"files that end in {suffix}"


def _newer_formats_note(keys: Iterable[str]) -> tuple[str, ...]:
    """Says how many images have formats that were not always read, since earlier results lack them."""
    counts = Counter(suffix for suffix in map(suffix_of, keys) if suffix not in FIRST_SUFFIXES)
    listed = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(counts.items()))
    return (f"images of less usual formats are among these: {listed}",) if listed else ()


def _top_folder(key: str) -> str:
    return in_one_form(key.split("/", 1)[0])


def _add_image(listing: _FolderListing, root: Path, path: Path) -> None:
    key = printable(path.relative_to(root).as_posix())
    if key in listing.paths:
        raise DataError(
            f"Two files in {printable(str(root))!r} have the same name {key!r} once written as UTF-8. Rename "
            "one of them."
        )
    listing.paths[key] = path


def read_file(path: Path) -> tuple[bytes, str]:
    """The bytes of an image file and an empty string, or no bytes and the reason why it cannot be read."""
    try:
        problem = size_problem(path.stat().st_size)
        return (b"", problem) if problem else (path.read_bytes(), "")
    except OSError as error:
        return b"", f"the file cannot be read ({error.strerror})"


def file_digest(path: Path) -> bytes:
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
