"""Lists the members of a tar file from their headers, with names, positions and sizes; damage is always an error."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from noisystudent.data.files import File
from noisystudent.data.source import printable
from noisystudent.errors import DataError

BLOCK = 512  # bytes of a header; contents are padded to a multiple of it

_LOCAL_READ_BYTES = 2**14  # per read of a local file: the end of an image, the next headers, the next beginning
_REMOTE_READ_BYTES = 2**23  # per read from a store, where a request costs as much as a few megabytes
_LONGEST_HEADER = 2**20  # bytes of all extended headers of a member; real ones have a few hundred
_MOST_RECORDS = 10_000  # in an extended header; real ones have a few
_LONGEST_END = 2**16  # bytes after the end marker: zeros, usually fewer than 10,240


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a tar file: ``start`` and ``size`` of its content in bytes.

    ``kind`` is that of a plain file, a folder, a link or another special file. ``name`` is valid UTF-8. It comes from
    the tar file unchecked and may contain ``..``: it must never become a path.
    """

    name: str
    start: int
    size: int
    kind: Literal["file", "folder", "link", "special"]


class BlockReader:
    """Reads parts of a file in ascending order, through blocks large enough to be worth a request."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._block_bytes = _LOCAL_READ_BYTES if file.filesystem is None else _REMOTE_READ_BYTES
        self._start, self._block = 0, b""

    def read(self, start: int, length: int) -> bytes:
        """Reads ``length`` bytes from ``start``; both ends must lie within the file."""
        offset = start - self._start
        if offset < 0 or offset + length > len(self._block):
            block_bytes = min(max(length, self._block_bytes), self._file.size - start)
            self._start, self._block, offset = start, self._file.read(start, block_bytes), 0
        return self._block[offset : offset + length]


def scan_members(file: File, reader: BlockReader) -> Iterator[Member]:
    """Yields every member in order, with long names (GNU and pax) resolved; ``reader`` must read ``file``.

    Raises ``DataError``, naming the file, the byte and the previous member, for a damaged header, for a file that ends
    too early, and for one that continues after its end marker (concatenated tar files).
    """
    position, previous = 0, ""
    attributes: dict[str, str] = {}  # of the next member, from its extended headers
    extended = 0  # bytes of these headers
    while True:
        where = f"at byte {position:,}, {f'after the member {previous!r}' if previous else 'its beginning'}"
        if position + BLOCK > file.size:
            raise DataError(
                f"{file.name!r} ends too early, {where}: it has no end marker, so it was cut short. Copy or make "
                "it again."
            )
        header = reader.read(position, BLOCK)
        if header == bytes(BLOCK):
            _check_end(file, reader, position)
            return
        info = _parse_header(file, header, where)
        start, size = position + BLOCK, int(attributes.get("size", info.size))
        has_content = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES or info.type in _EXTENDED_TYPES
        position = start + (-(-size // BLOCK) * BLOCK if has_content else 0)
        if size < 0 or (has_content and start + size > file.size):
            raise DataError(
                f"{file.name!r} ends too early: the member {printable(info.name)!r} has {size:,} bytes, and "
                f"only {max(0, file.size - start):,} follow. The file was cut short: copy or make it again."
            )
        if info.type in _EXTENDED_TYPES:
            extended += size
            if extended > _LONGEST_HEADER:
                raise DataError(
                    f"{file.name!r} has extended headers of {extended:,} bytes {where}. The file is damaged: make it "
                    "again."
                )
            if info.type != tarfile.XGLTYPE:  # a global header (a commit, a comment) is irrelevant to images
                attributes |= _read_extended(file, reader, info.type, start, size, where)
            continue
        name = printable(attributes.get("path", info.name))
        is_sparse = info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse.") for key in attributes)
        if is_sparse:
            raise DataError(f"The member {name!r} of {file.name!r} is sparse. Write the tar file without --sparse.")
        yield Member(name, start, size, _kind(info))
        previous, attributes, extended = name, {}, 0


_EXTENDED_TYPES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


def _kind(info: tarfile.TarInfo) -> Literal["file", "folder", "link", "special"]:
    if info.isreg():
        return "file"
    if info.isdir():
        return "folder"
    return "link" if info.islnk() or info.issym() else "special"


def _parse_header(file: File, header: bytes, where: str) -> tarfile.TarInfo:
    if header.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        raise DataError(
            f"{file.name!r} is compressed, so its members cannot be read one by one. Decompress it to a plain .tar."
        )
    try:
        return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.TarError as error:
        raise DataError(
            f"{file.name!r} has a damaged header ({error}) {where}. It is not a tar file, or is damaged: make it again."
        ) from error


def _check_end(file: File, reader: BlockReader, position: int) -> None:
    rest = reader.read(position, min(_LONGEST_END, file.size - position))
    if rest.strip(b"\0"):
        raise DataError(
            f"{file.name!r} goes on after its end marker at byte {position:,}: several tar files were concatenated. "
            "Give them as separate files."
        )


def _read_extended(file: File, reader: BlockReader, type: bytes, start: int, size: int, where: str) -> dict[str, str]:
    """The attributes of the next member from an extended header: ``path``, ``size`` and keys of sparse files."""
    content = reader.read(start, size)
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
    """The records of a pax header, each ``<length> <key>=<value>`` and a line feed; the length includes itself."""
    end = len(content.rstrip(b"\0"))
    position, count = 0, 0
    while position < end:
        blank = content.find(b" ", position, position + 10)
        length = int(content[position:blank]) if blank > position else 0
        key, equals, value = content[blank + 1 : position + length - 1].partition(b"=")
        is_complete = blank < position + length <= end and content[position + length - 1 : position + length] == b"\n"
        count += 1
        if not equals or not is_complete or count > _MOST_RECORDS:
            raise ValueError("a record of a pax header has the wrong length, or there are too many")
        yield key.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")
        position += length
