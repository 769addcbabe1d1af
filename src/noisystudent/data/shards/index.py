"""The index of a tar shard: a row for each image with its key, place, size, sample and label.

An index is a function of the tar file alone, whether it was written by ``pack``, kept in the cache or made just now.
It is a Parquet file, so that the numbers of rows and the digests are read without the rows.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from noisystudent.artifacts.folder import atomic_write
from noisystudent.data.files import DIGEST_BYTES, SAMPLE_BYTES, File, neighbor, sample_digest
from noisystudent.data.shards.members import BLOCK, Member, Window, scan_members
from noisystudent.data.sources.folder import SUFFIXES
from noisystudent.data.sources.labels import label_text
from noisystudent.errors import DataError
from noisystudent.runtime.env import cache_folder

NO_IMAGE = -1  # the start of a row that has a label and no image

_FORMAT = 1
_FACTS = b"noisystudent"
_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("sample", pa.binary(DIGEST_BYTES), nullable=False),
        pa.field("label", pa.string()),
    ]
)
_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)", re.DOTALL)  # key and extension, as WebDataset splits them
_LONGEST_LABEL = 2**20  # bytes of a .cls or .json member that is looked into
_JSON_FIELDS = ("cls", "label", "class")


@dataclass(frozen=True)
class Facts:
    """What is known of a shard without its rows.

    ``bytes`` is the size of the tar file; ``content`` identifies keys and images, ``labels`` the labels, both in
    order; ``ignored`` counts members that are no part of an image: links, devices, hidden and other files.
    """

    bytes: int
    rows: int
    content: str
    labels: str
    ignored: int


@dataclass(frozen=True)
class Index:
    """The rows of one shard (columns key, start, size, sample, label) and its facts."""

    table: pa.Table
    facts: Facts


def index_name(shard: str) -> str:
    """The name of the index beside a shard: ``train-000.index.parquet`` for ``train-000.tar``."""
    return shard.removesuffix(".tar") + ".index.parquet"


def make_index(file: File) -> Index:
    """The index of a tar file, from its headers and a few KiB of each image.

    Members belong together by the name before the first dot after the last slash. A key has at most one image
    (jpg, jpeg, png, webp, bmp, gif); its label is the text of ``.cls`` or a field of ``.json``: ``cls``, ``label`` or
    ``class``. Raises ``DataError``, naming shard and member, for a member that is there twice, two images of one
    key, and damage.
    """
    window = Window(file)
    rows: dict[str, dict[str, object]] = {}
    seen: set[tuple[str, str]] = set()
    ignored = 0
    for member in scan_members(file, window):
        key, kind = _split(member)
        if not kind:
            ignored += 1
            continue
        if (key, kind) in seen:
            what = "a second image of the same key" if kind == "image" else "there twice"
            raise DataError(f"The member {member.name!r} of {file.name!r} is {what}. Give every image its own key.")
        seen.add((key, kind))
        row = rows.setdefault(key, {})
        if kind == "image":
            row |= {"start": member.start, "size": member.size, "sample": _sampled(window, member)}
        elif member.size <= _LONGEST_LABEL:
            row[kind] = _label_in(kind, window.read(member.start, member.size))
    kept = {key: row for key, row in rows.items() if "start" in row or row.get("cls") or row.get("json")}
    ignored += len(rows) - len(kept)
    return _index(file.size, kept, ignored)


def load_index(file: File) -> Index:
    """The index of a shard: the one beside it when it fits, else the one in the cache, else made and kept there.

    One beside the shard fits when it speaks of a tar file of that size and, on this machine, is not older than it; one
    in the cache when size and time of change (or ETag) are the same.
    """
    beside = neighbor(file, index_name(file.base))
    if beside is not None and not is_older(beside, file):
        index = _parsed(beside.read(), file.size)
        if index is not None:
            return index
    return _cached(file)


def is_older(index: File, file: File) -> bool:
    """Whether an index was written before the file that it speaks of was last changed, both on this machine."""
    return index.modified is not None and file.modified is not None and index.modified < file.modified


def save_index(path: Path, index: Index, more: Mapping[str, object]) -> None:
    """Writes an index, atomically, with ``more`` facts (JSON) beside its own."""
    facts = json.dumps({"format": _FORMAT, **asdict(index.facts), **more}, sort_keys=True)
    with atomic_write(path) as temporary:
        pq.write_table(index.table.replace_schema_metadata({_FACTS: facts}), temporary, compression="zstd")


def read_facts(path: Path) -> dict[str, object]:
    """All facts that ``save_index`` wrote."""
    facts: dict[str, object] = json.loads(pq.read_schema(path).metadata[_FACTS])
    return facts


def _split(member: Member) -> tuple[str, str]:
    """Key and kind of a member: ``image``, ``cls``, ``json``, or empty for what is passed over."""
    found = _NAME.fullmatch(member.name.removeprefix("./")) if member.regular else None
    if found is None:
        return "", ""
    extension = found[2].lower()
    if f".{extension}" in SUFFIXES:
        return found[1], "image"
    return found[1], extension if extension in ("cls", "json") else ""


def _sampled(window: Window, member: Member) -> bytes:
    length = min(SAMPLE_BYTES, member.size)
    head = window.read(member.start, length)
    tail = window.read(member.start + member.size - length, length)
    return sample_digest(member.size, head, tail)


def _label_in(kind: str, content: bytes) -> str | None:
    """The label that a ``.cls`` or ``.json`` member tells, or None."""
    try:
        text = content.decode("utf-8")
        if kind == "cls":
            return label_text(text)
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    fields = [told[name] for name in _JSON_FIELDS if name in told] if isinstance(told, dict) else []
    return next((text for text in map(label_text, fields) if text), None)


def _index(size: int, rows: Mapping[str, Mapping[str, object]], ignored: int) -> Index:
    table = pa.table(
        {
            "key": list(rows),
            "start": [row.get("start", NO_IMAGE) for row in rows.values()],
            "size": [row.get("size", 0) for row in rows.values()],
            "sample": [row.get("sample", bytes(DIGEST_BYTES)) for row in rows.values()],
            "label": [row.get("cls") or row.get("json") for row in rows.values()],
        },
        schema=_SCHEMA,
    )
    return Index(table, _facts(table, size, ignored))


def _facts(table: pa.Table, size: int, ignored: int) -> Facts:
    """The facts of an index; where the images lie in the file is no part of what identifies them."""
    content = hashlib.sha256(json.dumps(table["key"].to_pylist()).encode())
    content.update(table["size"].to_numpy().tobytes())
    content.update(b"".join(table["sample"].to_pylist()))
    labels = hashlib.sha256(json.dumps(table["label"].to_pylist()).encode())
    return Facts(size, table.num_rows, content.hexdigest()[:32], labels.hexdigest()[:32], ignored)


def _parsed(content: bytes, size: int) -> Index | None:
    """The index in the bytes of a Parquet file, or None for one of another file, format or making."""
    try:
        table = pq.read_table(pa.BufferReader(content))
        told = json.loads((table.schema.metadata or {})[_FACTS])
        ignored = int(told["ignored"])
        fits = told["format"] == _FORMAT and told["bytes"] == size and table.schema.equals(_SCHEMA)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None
    if not fits:
        return None
    table = table.replace_schema_metadata(None)
    end = pc.add(table["start"], table["size"])
    inside = pc.and_(pc.greater_equal(table["start"], BLOCK), pc.less_equal(end, size))
    absent = pc.and_(pc.equal(table["start"], NO_IMAGE), pc.equal(table["size"], 0))
    placed = pc.and_(pc.or_(inside, absent), pc.greater_equal(table["size"], 0))
    return Index(table, _facts(table, size, ignored)) if pc.all(placed, min_count=0).as_py() else None


def _cached(file: File) -> Index:
    """The index of the shard from the cache folder, made and kept there when it is not."""
    identity = json.dumps([_FORMAT, file.name if file.filesystem else str(Path(file.name).resolve()), file.stamp])
    path = cache_folder() / "shards" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.parquet"
    if path.is_file():
        index = _parsed(path.read_bytes(), file.size)
        if index is not None:
            return index
    index = make_index(file)
    try:
        save_index(path, index, {"shard": file.name})
    except OSError as error:
        raise DataError(
            f"The index of {file.name!r} cannot be kept in {path.parent} ({error.strerror}). Make that folder "
            "writable, or set XDG_CACHE_HOME to another."
        ) from error
    return index
