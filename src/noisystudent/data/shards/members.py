"""The members of a tar file, from their headers: names, places and sizes, and nothing that damage could hide."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from noisystudent.data.files import File
from noisystudent.errors import DataError

BLOCK = 512  # bytes of a header; contents are padded to a multiple of it

_STEP_HERE = 2**14  # read at once on this machine: the end of an image, the next headers, a beginning
_STEP_THERE = 2**23  # from a store, where a request costs as much as a few megabytes
_LONGEST_HEADER = 2**20  # of an extended header or a long name: a real one has a few hundred bytes
_LONGEST_END = 2**16  # after the end marker: padding of zeros, usually less than 10,240 bytes


@dataclass(frozen=True, slots=True)
class Member:
    """One member: ``start`` and ``size`` of its content in the tar file, in bytes; ``regular`` if it is a plain file.

    ``name`` is text that UTF-8 can hold. It is what the tar file says, ``..`` and all, and must never become a path.
    """

    name: str
    start: int
    size: int
    regular: bool


class Window:
    """Reads parts of a file in rising order, through blocks that are worth a request each."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._step = _STEP_HERE if file.filesystem is None else _STEP_THERE
        self._start, self._block = 0, b""

    def read(self, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``, which must lie within the file."""
        offset = start - self._start
        if offset < 0 or offset + length > len(self._block):
            longest = min(max(length, self._step), self._file.size - start)
            self._start, self._block, offset = start, self._file.read(start, longest), 0
        return self._block[offset : offset + length]


def scan_members(file: File, window: Window) -> Iterator[Member]:
    """Every member in order, long names (GNU and pax) resolved; ``window`` reads ``file``.

    Raises ``DataError``, naming the file, the byte and the member before it, for a header that is damaged, a file
    that ends too early, and one that goes on behind its end marker (tar files written one after another).
    """
    position, before = 0, ""
    told: dict[str, str] = {}  # what extended headers say of the member that follows
    while True:
        where = f"at byte {position:,}, {f'after the member {before!r}' if before else 'its beginning'}"
        if position + BLOCK > file.size:
            raise DataError(
                f"{file.name!r} ends too early, {where}: a tar file has an end marker, and this one has none. It was "
                "cut short: copy or make it again."
            )
        header = window.read(position, BLOCK)
        if header == bytes(BLOCK):
            _check_end(file, window, position)
            return
        info = _parsed(file, header, where)
        start, size = position + BLOCK, int(told.get("size", info.size))
        has_content = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES or info.type in _EXTENDED
        position = start + (-(-size // BLOCK) * BLOCK if has_content else 0)
        if size < 0 or (has_content and start + size > file.size):
            raise DataError(
                f"{file.name!r} ends too early: the member {_printable(info.name)!r} has {size:,} bytes, and "
                f"{max(0, file.size - start):,} are there. It was cut short: copy or make it again."
            )
        if info.type in _EXTENDED:
            if info.type != tarfile.XGLTYPE:  # what a global header says (a commit, a comment) matters to no image
                told |= _extended(file, window, info.type, start, size, where)
            continue
        before = _printable(told.get("path", info.name))
        sparse = info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse.") for key in told)
        if sparse:
            raise DataError(f"The member {before!r} of {file.name!r} is sparse. Write the tar file without --sparse.")
        yield Member(before, start, size, info.isreg())
        told = {}


_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


def _parsed(file: File, header: bytes, where: str) -> tarfile.TarInfo:
    if header.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        raise DataError(f"{file.name!r} is compressed, so single members cannot be read. Unpack it to a plain .tar.")
    try:
        return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        raise DataError(
            f"{file.name!r} has a damaged header ({error}) {where}. It is no tar file, or was damaged: make it again."
        ) from error


def _check_end(file: File, window: Window, position: int) -> None:
    rest = window.read(position, min(_LONGEST_END, file.size - position))
    if rest.strip(b"\0"):
        raise DataError(
            f"{file.name!r} goes on after its end marker at byte {position:,}: tar files were written one after "
            "another. Give each a file of its own."
        )


def _extended(file: File, window: Window, type: bytes, start: int, size: int, where: str) -> dict[str, str]:
    """What an extended header says of the next member: ``path``, ``size`` and keys of sparse files."""
    if size > _LONGEST_HEADER:
        raise DataError(
            f"{file.name!r} has an extended header of {size:,} bytes {where}. It was damaged: make it again."
        )
    content = window.read(start, size)
    if type == tarfile.GNUTYPE_LONGLINK:
        return {}
    if type == tarfile.GNUTYPE_LONGNAME:
        return {"path": content.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")}
    try:
        records = dict(_pax_records(content))
        if "size" in records:
            int(records["size"])
    except ValueError as error:
        raise DataError(f"{file.name!r} has a damaged extended header {where}. Make it again.") from error
    return {key: text for key, text in records.items() if key in ("path", "size") or key.startswith("GNU.sparse.")}


def _pax_records(content: bytes) -> Iterator[tuple[str, str]]:
    """Each record is ``<its length> <key>=<value>`` and a new line; the length counts itself."""
    while content.strip(b"\0"):
        digits, _, _ = content.partition(b" ")
        length = int(digits)
        key, equals, value = content[len(digits) + 1 : length - 1].partition(b"=")
        whole = len(digits) < length <= len(content) and content[length - 1 : length] == b"\n"
        if not equals or not whole:
            raise ValueError("a record of a pax header has the wrong length")
        yield key.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")
        content = content[length:]


def _printable(name: str) -> str:
    """``name`` as text that UTF-8 can hold: any other byte becomes its escape."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
