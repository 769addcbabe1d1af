"""Local and remote files: find them by a pattern, read parts of them with retries, identify them by a digest."""

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

from noisystudent.data.source import printable
from noisystudent.errors import DataError

SAMPLE_BYTES = 4096  # of each end of a file that its digest covers
DIGEST_BYTES = 8


def sample_digest(size: int, head: bytes, tail: bytes) -> bytes:
    """An 8-byte digest of ``size`` bytes of content, from its first and last 4 KiB (all of it if it is shorter)."""
    total = hashlib.blake2b(f"{size}\0".encode(), digest_size=DIGEST_BYTES)
    total.update(head)
    total.update(tail)
    return total.digest()


def content_digest(content: bytes) -> bytes:
    """The ``sample_digest`` of content in memory."""
    return sample_digest(len(content), content[:SAMPLE_BYTES], content[-SAMPLE_BYTES:])


WAITS = (0.1, 0.4, 1.6, 6.4)  # seconds before each further attempt, about what a busy store asks for

# Another attempt does not help against these.
_FINAL = (PermissionError, IsADirectoryError, NotADirectoryError, ImportError, NotImplementedError)

Result = TypeVar("Result")


def with_retries(action: Callable[[], Result], name: str, *, doing: Literal["read", "written"] = "read") -> Result:
    """Calls ``action`` up to five times, with growing pauses, and returns its result.

    Args:
        action: the request to a store.
        name: the URL that it reads or writes, for messages.
        doing: what it does with the URL, for messages.

    Raises:
        FileNotFoundError: the file does not exist; no retry.
        DataError: passed through at once, or names the URL and the last reason for any other error.
    """
    for wait in (*WAITS, None):
        try:
            return action()
        except (FileNotFoundError, DataError):
            raise
        except _FINAL as error:
            raise DataError(
                f"{name!r} cannot be {doing} ({_reason(error)}). Check the address and your access rights."
            ) from error
        except Exception as error:  # every store has its own errors, and few of them are OSErrors
            if wait is None:
                raise DataError(
                    f"{name!r} cannot be {doing}: {len(WAITS) + 1} attempts failed, the last with {_reason(error)}. "
                    "Check the address and the network, and run the same command again; it reuses all finished work."
                ) from error
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


MOST_NAMES = 1_000_000  # names per pattern; more are most likely a typing error

_BRACE = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]{1,12})\.\.([0-9]{1,12})")


def expand_braces(pattern: str) -> list[str]:
    """Expands braces as a shell does: a range of numbers ``{a..b}`` or alternatives ``{one,two}``, in order.

    A range counts up or down. If either bound begins with a zero, its numbers have as many digits as the longer bound.
    Raises ``DataError`` for braces that hold neither, are nested or are not closed, and for more than a million names.
    """
    parts = _BRACE.split(pattern)  # alternates between plain text and the contents of braces
    if any("{" in plain or "}" in plain for plain in parts[::2]):
        raise DataError(f"The braces in {pattern!r} do not match, or are nested. Write ranges as {{000000..000123}}.")
    count = math.prod(_choice_count(inside) for inside in parts[1::2])
    if count > MOST_NAMES:
        raise DataError(f"{pattern!r} stands for {count:,} files. Use smaller ranges: {MOST_NAMES:,} at most.")
    choices = [_choices(pattern, part) if number % 2 else [part] for number, part in enumerate(parts)]
    return ["".join(combination) for combination in itertools.product(*choices)]


def _choice_count(inside: str) -> int:
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
        f"{{{inside}}} in {pattern!r} is not understood: braces hold a range of numbers, {{000000..000123}}, or "
        "names separated by commas, {train,extra}."
    )


# The extra of this package that installs the reader of a protocol.
_EXTRAS = {"s3": "s3", "s3a": "s3", "hf": "hf"}
_URL = re.compile(r"(?:[A-Za-z][\w+.-]*::)*[A-Za-z][\w+.-]*://")
_WILD = re.compile(r"[*?\[]")
# Fields of a listing that change if the file is rewritten, the most reliable first.
_STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "modified", "created")

FileSystem = Any  # fsspec's AbstractFileSystem: fsspec has no types and is slow to import


@dataclass(frozen=True, slots=True)
class File:
    """The state of a local or remote file at the time of its listing.

    ``name`` is its path or URL, ``size`` its size in bytes. ``stamp`` changes if the file is rewritten. ``modified`` is
    the time of the last change in seconds, for local files only. ``filesystem`` and ``path`` are fsspec's, for remote
    files only.
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
        """The path or URL of the file's folder."""
        return self.name.rsplit("/", 1)[0] if "/" in self.name else "."

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        """Reads exactly ``length`` bytes from ``start``; without a length, the rest of the file.

        Raises ``DataError``, naming the file, if it is missing, changed, or shorter than before.
        """
        length = self.size - start if length is None else length
        if start < 0 or length < 0 or start + length > self.size:
            raise DataError(
                f"{self.name!r} has {self.size} bytes, and byte {start + length} is needed: the file changed, or is "
                "damaged. Copy or make it again."
            )
        try:
            if self.filesystem is None:
                return self._read_local(start, length)
            return with_retries(lambda: self._read_remote(start, length), self.name)
        except OSError as error:
            raise DataError(f"{self.name!r} cannot be read ({error.strerror or error}).") from error

    def _read_local(self, start: int, length: int) -> bytes:
        with open(self.name, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            content = os.pread(file.fileno(), length, start)
        if _local_stamp(status) != self.stamp or len(content) != length:
            raise DataError(f"{self.name!r} changed while it was in use. Run the same command again.")
        return content

    def _read_remote(self, start: int, length: int) -> bytes:
        if not length:
            return b""
        content: bytes = self.filesystem.cat_file(self.path, start=start, end=start + length)
        if len(content) != length:
            raise OSError(f"the store sent {len(content)} bytes instead of {length}")
        return content


def is_url(text: str) -> bool:
    """Whether ``text`` begins like a URL, such as ``s3://`` or ``simplecache::https://``."""
    return _URL.match(text) is not None


def is_pattern(text: str) -> bool:
    """Whether ``text`` contains braces or wildcards and so may stand for several files."""
    return "{" in text or _WILD.search(text) is not None


def list_files(pattern: str, ending: str) -> list[File]:
    """The files that ``pattern`` stands for, each of which must end in ``ending``, such as ``.tar``.

    Args:
        pattern: a path or URL of a file, or of a folder that holds such files; with braces
            (``train-{000..123}.tar``, in their order) or wildcards (``*.tar``, in the order of the text).
        ending: the required ending of the file names, in lower case.

    Raises:
        DataError: files are missing, none matches, or some have another ending.
    """
    is_literal = not is_url(pattern) and Path(pattern).expanduser().exists()
    names = [pattern] if is_literal else expand_braces(pattern)
    files: list[File] = []
    missing: list[str] = []
    find = _RemoteFiles(pattern).find if is_url(pattern) else _find_local
    for name in names:
        matches = find(name, ending, is_literal)
        files += matches
        if not matches:
            missing.append(name)
    if missing:
        raise DataError(_missing_files_message(pattern, names, missing, ending))
    others = [file.name for file in files if not file.name.lower().endswith(ending)]
    if others:
        raise DataError(
            f"{pattern!r} stands for {len(others)} files that do not end in {ending}, for example {others[0]!r}. "
            f"Write a pattern that ends in {ending}."
        )
    return files


def short_names(files: Sequence[File]) -> list[str]:
    """The files' names relative to their common folder."""
    common = posixpath.commonpath([file.folder for file in files])
    return [printable(posixpath.relpath(file.name, common)) for file in files]


def sibling_file(file: File, base: str) -> File | None:
    """The file ``base`` in the folder of ``file``, or None if there is none."""
    name = f"{file.folder}/{base}"
    if file.filesystem is None:
        path = Path(name)
        return _local_file(name) if path.is_file() else None
    remote_path = file.path.rsplit("/", 1)[0] + "/" + base
    try:
        info = with_retries(lambda: file.filesystem.info(remote_path), name)
    except FileNotFoundError:
        return None
    return _remote_file(name, file.filesystem, info)


def open_filesystem(url: str) -> tuple[FileSystem, str]:
    """Fsspec's file system for a URL, and the path in it; ``DataError`` if the package that reads it is missing."""
    from fsspec.core import url_to_fs  # imported only for URLs: it takes a tenth of a second

    try:
        filesystem, path = url_to_fs(url)
    except ImportError as error:
        scheme = url.split("://", 1)[0].split("::")[-1]
        extra = _EXTRAS.get(scheme)
        command = f"pip install 'noisystudent[{extra}]'" if extra else "install it with pip"
        raise DataError(f"{url!r} needs a package that is not installed ({error}): {command}.") from error
    except ValueError as error:
        raise DataError(f"{url!r} is not a URL that can be read ({error}). Check the part before '://'.") from error
    return filesystem, path


def file_at(location: str) -> File | None:
    """The file at a path or URL, or None if there is none."""
    if not is_url(location):
        return _local_file(location) if Path(location).expanduser().is_file() else None
    filesystem, path = open_filesystem(location)
    try:
        info = with_retries(lambda: filesystem.info(path), location)
    except FileNotFoundError:
        return None
    return _remote_file(location, filesystem, info) if info["type"] == "file" else None


def folder_contains(url: str, ending: str) -> bool:
    """Whether the folder at a URL contains a file with this ending."""
    filesystem, path = open_filesystem(url)
    try:
        infos = with_retries(lambda: filesystem.ls(path, detail=True), url)
    except FileNotFoundError:
        return False
    return any(_is_visible(str(info["name"]).rsplit("/", 1)[-1], ending) for info in infos if info["type"] == "file")


def _missing_files_message(pattern: str, names: list[str], missing: list[str], ending: str) -> str:
    if len(names) > 1:
        return (
            f"{len(missing)} of the {len(names)} files that {pattern!r} stands for are missing, for example "
            f"{missing[0]!r}. Correct the range, or restore the files."
        )
    if _WILD.search(pattern):
        return f"No file matches {pattern!r}. Check the pattern."
    return f"There is no file and no folder of {ending} files at {pattern!r}. Check the name."


def _find_local(name: str, ending: str, is_literal: bool) -> list[File]:
    path = Path(name).expanduser()
    if path.is_dir():
        entries = sorted(str(entry) for entry in path.iterdir() if _is_visible(entry.name, ending) and entry.is_file())
        return [_local_file(entry) for entry in entries]
    if path.is_file():
        return [_local_file(str(path))]
    if is_literal or not _WILD.search(name):
        return []
    return [_local_file(match) for match in sorted(glob.glob(str(path), recursive=True)) if Path(match).is_file()]


def _local_file(name: str) -> File:
    path = Path(name).expanduser()
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{name!r} cannot be read ({error.strerror}).") from error
    return File(str(path), status.st_size, _local_stamp(status), status.st_mtime)


def _local_stamp(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def _remote_file(name: str, filesystem: FileSystem, info: dict[str, Any]) -> File:
    stamp = next((str(info[key]) for key in _STAMPS if info.get(key) is not None), "")
    size = info.get("size")
    if size is None:
        raise DataError(
            f"The store does not give the size of {name!r}, so parts of it cannot be read. Copy it here first."
        )
    return File(name, int(size), stamp, None, filesystem, str(info["name"]))


def _is_visible(base: str, ending: str) -> bool:
    return base.lower().endswith(ending) and not base.startswith(".")


class _RemoteFiles:
    """Files behind one URL pattern; it lists each folder once, so that 10,000 shards need no 10,000 requests."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._filesystem, _ = open_filesystem(pattern.replace("{", "").replace("}", ""))
        self._filesystem.invalidate_cache()
        self._listings: dict[str, dict[str, dict[str, Any]]] = {}

    def find(self, name: str, ending: str, is_literal: bool) -> list[File]:
        """The files that one name without braces stands for, in the order of their text."""
        path: str = self._filesystem._strip_protocol(name)
        if _WILD.search(name.split("://", 1)[1]):
            infos = with_retries(lambda: self._filesystem.glob(path, detail=True), name)
            return self._files(info for _, info in sorted(infos.items()) if info["type"] == "file")
        has_braces = "{" in self._pattern
        listing = self._listing(path.rsplit("/", 1)[0]) if has_braces and "/" in path else {}
        info = listing.get(path) or self._info(name, path)
        if info is None:
            return []
        if info["type"] == "directory":
            return self._files(
                entry
                for entry_path, entry in sorted(self._listing(path).items())
                if entry["type"] == "file" and _is_visible(entry_path.rsplit("/", 1)[-1], ending)
            )
        return self._files(iter([info]))

    def _listing(self, folder: str) -> dict[str, dict[str, Any]]:
        """The entries of a folder by path; empty if the store cannot list."""
        if folder not in self._listings:
            try:
                infos = with_retries(lambda: self._filesystem.ls(folder, detail=True), self._url(folder))
            except (FileNotFoundError, DataError):
                infos = []  # each file is then requested by itself, and that error says what is wrong
            self._listings[folder] = {str(info["name"]).rstrip("/"): info for info in infos}
        return self._listings[folder]

    def _info(self, name: str, path: str) -> dict[str, Any] | None:
        try:
            info: dict[str, Any] = with_retries(lambda: self._filesystem.info(path), name)
        except FileNotFoundError:
            return None
        return info

    def _files(self, infos: Iterator[dict[str, Any]]) -> list[File]:
        return [_remote_file(self._url(str(info["name"])), self._filesystem, info) for info in infos]

    def _url(self, path: str) -> str:
        """The URL of a path in this file system, as the user would write it."""
        if "://" in path:
            return path
        return self._pattern.split("://", 1)[0] + "://" + path
