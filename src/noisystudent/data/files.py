"""Files on this machine and behind URLs: found by a pattern, read in part, retried, identified by a digest."""

from __future__ import annotations

import glob
import hashlib
import itertools
import math
import os
import posixpath
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from noisystudent.errors import DataError

SAMPLE_BYTES = 4096  # looked at from either end
DIGEST_BYTES = 8


def sample_digest(size: int, head: bytes, tail: bytes) -> bytes:
    """8 bytes that identify a content of ``size`` bytes by its first and last 4 KiB (all of it when it is shorter)."""
    total = hashlib.blake2b(f"{size}\0".encode(), digest_size=DIGEST_BYTES)
    total.update(head)
    total.update(tail)
    return total.digest()


def content_digest(content: bytes) -> bytes:
    """``sample_digest`` of a content at hand."""
    return sample_digest(len(content), content[:SAMPLE_BYTES], content[-SAMPLE_BYTES:])


WAITS = (0.1, 0.4, 1.6, 6.4)  # seconds before each further attempt: a busy store asks for about as much

# What asking again does not change.
_FINAL = (PermissionError, IsADirectoryError, NotADirectoryError, ImportError, NotImplementedError)

Answer = TypeVar("Answer")


def persistently(action: Callable[[], Answer], name: str, *, doing: Literal["read", "written"] = "read") -> Answer:
    """What ``action`` returns, tried up to five times with growing pauses; ``name`` is the URL that it reads or writes.

    Raises ``FileNotFoundError`` and ``DataError`` as they come, at once, and everything else as a ``DataError`` that
    names the URL and the last reason.
    """
    for wait in (*WAITS, None):
        try:
            return action()
        except (FileNotFoundError, DataError):
            raise
        except _FINAL as error:
            raise DataError(
                f"{name!r} cannot be {doing} ({_reason(error)}). Check the address and your rights."
            ) from error
        except Exception as error:  # each store raises errors of its own, and few of them are OSErrors
            if wait is None:
                raise DataError(
                    f"{name!r} cannot be {doing}: {len(WAITS) + 1} attempts failed, the last with {_reason(error)}. "
                    "Check the address and the network, and run the same command again; all finished work is kept."
                ) from error
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


MOST_NAMES = 1_000_000  # that one pattern may stand for: beyond, a digit too many was typed

_BRACE = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]{1,12})\.\.([0-9]{1,12})")


def expand_braces(pattern: str) -> list[str]:
    """Every name that ``pattern`` stands for, in order: numbers ``{a..b}`` or a choice ``{one,two}`` in each brace.

    A range counts up or down, and its numbers have as many digits as the longer bound when either begins with a zero,
    as in a shell. Raises ``DataError`` for a brace that is neither, is nested or is not closed, and for more than a
    million names.
    """
    pieces = _BRACE.split(pattern)  # plain text and the insides of braces, in turn
    if any("{" in plain or "}" in plain for plain in pieces[::2]):
        raise DataError(f"The braces in {pattern!r} do not match, or are nested. Write ranges as {{000000..000123}}.")
    sizes = [_size(inside) for inside in pieces[1::2]]
    if math.prod(sizes) > MOST_NAMES:
        raise DataError(
            f"{pattern!r} stands for {math.prod(sizes):,} files. Use smaller ranges: {MOST_NAMES:,} at most."
        )
    choices = [_choices(pattern, piece) if odd % 2 else [piece] for odd, piece in enumerate(pieces)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def _size(inside: str) -> int:
    bounds = _RANGE.fullmatch(inside)
    return abs(int(bounds[1]) - int(bounds[2])) + 1 if bounds else 1 + inside.count(",")


def _choices(pattern: str, inside: str) -> list[str]:
    if bounds := _RANGE.fullmatch(inside):
        first, last = int(bounds[1]), int(bounds[2])
        padded = any(len(text) > 1 and text.startswith("0") for text in bounds.groups())
        width = max(map(len, bounds.groups())) if padded else 1
        step = 1 if first <= last else -1
        return [f"{number:0{width}d}" for number in range(first, last + step, step)]
    if "," in inside:
        return inside.split(",")
    raise DataError(
        f"{{{inside}}} in {pattern!r} is not understood: a brace holds a range of numbers, {{000000..000123}}, or "
        "names with commas between them, {train,extra}."
    )


# The extra of this package that brings what reads a protocol.
_EXTRAS = {"s3": "s3", "s3a": "s3", "hf": "hf"}
_URL = re.compile(r"(?:[A-Za-z][\w+.-]*::)*[A-Za-z][\w+.-]*://")
_WILD = re.compile(r"[*?\[]")
# What a listing says of a file that changes when it is written anew, the best first.
_STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "modified", "created")

FileSystem = Any  # fsspec's AbstractFileSystem; fsspec has no types and is slow to import


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was when it was listed.

    ``name`` is its path or URL; ``stamp`` changes when it is written anew; ``modified`` is the time of the last
    change in seconds, where the file lies on this machine. ``filesystem`` and ``path`` are fsspec's for it.
    """

    name: str
    size: int
    stamp: str
    modified: float | None = None
    filesystem: FileSystem = None
    path: str = ""

    @property
    def base(self) -> str:
        """The last part of the name."""
        return self.name.rsplit("/", 1)[-1]

    @property
    def folder(self) -> str:
        """The path or URL of the folder that the file lies in."""
        return self.name.rsplit("/", 1)[0] if "/" in self.name else "."

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        """``length`` bytes from ``start``, all of them; without a length the rest.

        Raises ``DataError``, naming the file, when it is gone, was changed or is shorter than it was.
        """
        length = self.size - start if length is None else length
        if start < 0 or length < 0 or start + length > self.size:
            raise DataError(
                f"{self.name!r} has {self.size} bytes, and byte {start + length} was asked for: it was changed."
            )
        try:
            if self.filesystem is None:
                return self._read_here(start, length)
            return persistently(lambda: self._read_there(start, length), self.name)
        except OSError as error:
            raise DataError(f"{self.name!r} cannot be read ({error.strerror or error}).") from error

    def _read_here(self, start: int, length: int) -> bytes:
        with open(self.name, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            content = os.pread(file.fileno(), length, start)
        if _stamp_here(status) != self.stamp or len(content) != length:
            raise DataError(f"{self.name!r} was changed while it was in use. Run the same command again.")
        return content

    def _read_there(self, start: int, length: int) -> bytes:
        if not length:
            return b""
        content: bytes = self.filesystem.cat_file(self.path, start=start, end=start + length)
        if len(content) != length:
            raise OSError(f"{len(content)} bytes came where {length} were asked for")
        return content


def is_url(text: str) -> bool:
    """Whether ``text`` begins as a URL does, such as ``s3://`` or ``simplecache::https://``."""
    return _URL.match(text) is not None


def is_pattern(text: str) -> bool:
    """Whether ``text`` stands for several files by braces or wildcards."""
    return "{" in text or _WILD.search(text) is not None


def list_files(pattern: str, ending: str) -> list[File]:
    """The files that ``pattern`` stands for, each of which must end in ``ending``, such as ``.tar``.

    ``pattern`` is a path or a URL of a file or of a folder that holds such files, with braces
    (``train-{000..123}.tar``, whose order is kept) or wildcards (``*.tar``, by the order of their text). Raises
    ``DataError`` when files are missing, when none is found and when some end otherwise.
    """
    literal = not is_url(pattern) and Path(pattern).expanduser().exists()
    names = [pattern] if literal else expand_braces(pattern)
    found: list[File] = []
    missing: list[str] = []
    look = _Remote(pattern, ending).find if is_url(pattern) else _find_here
    for name in names:
        files = look(name, ending, literal)
        found += files
        if not files:
            missing.append(name)
    if missing:
        raise DataError(_says_missing(pattern, names, missing, ending))
    others = [file.name for file in found if not file.name.lower().endswith(ending)]
    if others:
        raise DataError(
            f"{pattern!r} stands for {len(others)} files that do not end in {ending}, for example {others[0]!r}. "
            f"Write a pattern that ends in {ending}."
        )
    return found


def short_names(files: Sequence[File]) -> list[str]:
    """The files' names from the folder that all of them lie in, wherever that is."""
    common = posixpath.commonpath([file.folder for file in files])
    return [posixpath.relpath(file.name, common) for file in files]


def neighbor(file: File, base: str) -> File | None:
    """The file ``base`` in the folder of ``file``, or None where there is none."""
    name = f"{file.folder}/{base}"
    if file.filesystem is None:
        path = Path(name)
        return _file_here(name) if path.is_file() else None
    path_there = file.path.rsplit("/", 1)[0] + "/" + base
    try:
        info = persistently(lambda: file.filesystem.info(path_there), name)
    except FileNotFoundError:
        return None
    return _file_there(name, file.filesystem, info)


def open_filesystem(url: str) -> tuple[FileSystem, str]:
    """Fsspec's file system for a URL, and its path there; a ``DataError`` when what reads it is not installed."""
    from fsspec.core import url_to_fs  # a tenth of a second to import: only for who gives a URL

    try:
        found: tuple[FileSystem, str] = url_to_fs(url)
    except ImportError as error:
        scheme = url.split("://", 1)[0].split("::")[-1]
        extra = _EXTRAS.get(scheme)
        command = f"pip install 'noisystudent[{extra}]'" if extra else "install it with pip"
        raise DataError(f"{url!r} needs a package that is not installed ({error}): {command}.") from error
    except ValueError as error:
        raise DataError(f"{url!r} is not a URL that can be read ({error}). Check the part before '://'.") from error
    return found


def file_at(place: str) -> File | None:
    """The one file at a path or URL, or None where there is none."""
    if not is_url(place):
        return _file_here(place) if Path(place).expanduser().is_file() else None
    filesystem, path = open_filesystem(place)
    try:
        info = persistently(lambda: filesystem.info(path), place)
    except FileNotFoundError:
        return None
    return _file_there(place, filesystem, info) if info["type"] == "file" else None


def holds(url: str, ending: str) -> bool:
    """Whether the folder at a URL holds files that end so."""
    filesystem, path = open_filesystem(url)
    try:
        infos = persistently(lambda: filesystem.ls(path, detail=True), url)
    except FileNotFoundError:
        return False
    return any(_wanted(str(info["name"]).rsplit("/", 1)[-1], ending) for info in infos if info["type"] == "file")


def _says_missing(pattern: str, names: list[str], missing: list[str], ending: str) -> str:
    if len(names) > 1:
        return (
            f"{len(missing)} of the {len(names)} files that {pattern!r} stands for are missing, for example "
            f"{missing[0]!r}. Correct the range, or bring them back."
        )
    if _WILD.search(pattern):
        return f"No file matches {pattern!r}. Check the pattern."
    return f"There is no file and no folder of {ending} files at {pattern!r}. Check the name."


def _find_here(name: str, ending: str, literal: bool) -> list[File]:
    path = Path(name).expanduser()
    if path.is_dir():
        names = sorted(str(each) for each in path.iterdir() if _wanted(each.name, ending) and each.is_file())
        return [_file_here(each) for each in names]
    if path.is_file():
        return [_file_here(str(path))]
    if literal or not _WILD.search(name):
        return []
    return [_file_here(each) for each in sorted(glob.glob(str(path), recursive=True)) if Path(each).is_file()]


def _file_here(name: str) -> File:
    path = Path(name).expanduser()
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{name!r} cannot be read ({error.strerror}).") from error
    return File(str(path), status.st_size, _stamp_here(status), status.st_mtime)


def _stamp_here(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def _file_there(name: str, filesystem: FileSystem, info: dict[str, Any]) -> File:
    stamp = next((str(info[key]) for key in _STAMPS if info.get(key) is not None), "")
    size = info.get("size")
    if size is None:
        raise DataError(f"{name!r} does not say how large it is, so parts of it cannot be read. Copy it here first.")
    return File(name, int(size), stamp, None, filesystem, str(info["name"]))


def _wanted(base: str, ending: str) -> bool:
    return base.lower().endswith(ending) and not base.startswith(".")


class _Remote:
    """Files behind one URL pattern; each folder is listed once, so that 10,000 shards are not 10,000 requests."""

    def __init__(self, pattern: str, ending: str) -> None:
        self._pattern = pattern
        self._filesystem, _ = open_filesystem(pattern.replace("{", "").replace("}", ""))
        self._filesystem.invalidate_cache()
        self._listed: dict[str, dict[str, dict[str, Any]]] = {}

    def find(self, name: str, ending: str, literal: bool) -> list[File]:
        """The files that one name without braces stands for, in the order of their text."""
        path: str = self._filesystem._strip_protocol(name)
        if _WILD.search(name.split("://", 1)[1]):
            infos = persistently(lambda: self._filesystem.glob(path, detail=True), name)
            return self._files(info for _, info in sorted(infos.items()) if info["type"] == "file")
        several = "{" in self._pattern
        listed = self._listing(path.rsplit("/", 1)[0]) if several and "/" in path else {}
        info = listed.get(path) or self._info(name, path)
        if info is None:
            return []
        if info["type"] == "directory":
            inside = self._listing(path)
            return self._files(
                each
                for key, each in sorted(inside.items())
                if each["type"] == "file" and _wanted(key.rsplit("/", 1)[-1], ending)
            )
        return self._files(iter([info]))

    def _listing(self, folder: str) -> dict[str, dict[str, Any]]:
        """What lies in a folder, by path; nothing for a store that cannot list."""
        if folder not in self._listed:
            try:
                infos = persistently(lambda: self._filesystem.ls(folder, detail=True), self._url(folder))
            except (FileNotFoundError, DataError):
                infos = []  # the files are asked for one by one, and that says what is wrong
            self._listed[folder] = {str(info["name"]).rstrip("/"): info for info in infos}
        return self._listed[folder]

    def _info(self, name: str, path: str) -> dict[str, Any] | None:
        try:
            info: dict[str, Any] = persistently(lambda: self._filesystem.info(path), name)
        except FileNotFoundError:
            return None
        return info

    def _files(self, infos: Iterator[dict[str, Any]]) -> list[File]:
        return [_file_there(self._url(str(info["name"])), self._filesystem, info) for info in infos]

    def _url(self, path: str) -> str:
        """The URL of a path of this file system, as the user would write it."""
        if "://" in path:
            return path
        return self._pattern.split("://", 1)[0] + "://" + path
