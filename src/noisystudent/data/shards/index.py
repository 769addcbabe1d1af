"""The index of a tar shard: one row per image with its key, position, size, digest and label.

An index depends on the tar file only, whether ``pack`` wrote it, the cache holds it or it has just been made. It is a
Parquet file, so the row count and the digests can be read without the rows.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from noisystudent.artifacts.folder import atomic_write
from noisystudent.artifacts.temporary import remove_abandoned
from noisystudent.data.files import DIGEST_BYTES, SAMPLE_BYTES, File, sample_digest, sibling_file
from noisystudent.data.formats import FIRST_SUFFIXES, PILLOW_FORMAT, missing_reader, readable_suffixes, suffix_of
from noisystudent.data.shards.members import BLOCK, BlockReader, Member, scan_members
from noisystudent.data.source import PassedOver
from noisystudent.data.sources.labels import label_text
from noisystudent.data.tally import Tally
from noisystudent.errors import DataError
from noisystudent.runtime.env import cache_folder

NO_IMAGE = -1  # the start in a row with a label but no image

_FORMAT = 2
_METADATA_KEY = b"noisystudent"
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
_LONGEST_LABEL = 2**20  # bytes; longer .cls and .json members are not read
_NAMES_IN_INDEX = 1000  # of the members of one kind that are passed over
_JSON_FIELDS = ("cls", "label", "class")


@dataclass(frozen=True)
class ShardInfo:
    """The summary of a shard.

    ``bytes`` is the size of the tar file. ``content`` identifies the keys and images, ``labels`` the labels, both in
    order. ``passed_over`` counts the members that belong to no image, with the first names of each kind.
    """

    bytes: int
    rows: int
    content: str
    labels: str
    passed_over: tuple[PassedOver, ...]

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> ShardInfo:
        """The summary of what ``asdict`` gives; ``ValueError``, ``KeyError`` or ``TypeError`` for anything else."""
        passed_over = tuple(
            PassedOver(str(each["what"]), int(each["count"]), tuple(map(str, each["names"])))
            for each in values["passed_over"]
        )
        return cls(
            int(values["bytes"]), int(values["rows"]), str(values["content"]), str(values["labels"]), passed_over
        )


@dataclass(frozen=True)
class Index:
    """The rows of one shard (columns key, start, size, sample, label) and its summary."""

    table: pa.Table
    info: ShardInfo


def index_name(shard: str) -> str:
    """The name of the index beside a shard: ``train-000.index.parquet`` for ``train-000.tar``."""
    return shard.removesuffix(".tar") + ".index.parquet"


def make_index(file: File) -> Index:
    """The index of a tar file, made from its headers and a few KiB of each image.

    Members with the same name before the first dot after the last slash belong together; that name is the key. A key
    has at most one image; of an image in several formats, those that were not always read are passed over. Its label is
    the text of ``.cls`` or the field ``cls``, ``label`` or ``class`` of ``.json``. Raises ``DataError``, naming shard
    and member, for a duplicate member, for two images with the same key, and for damage.
    """
    reader = BlockReader(file)
    rows: dict[str, dict[str, object]] = {}
    known: set[tuple[str, str]] = set()
    tally = Tally()
    others: list[tuple[str, str]] = []  # keys and names of members that are neither images nor labels
    for member in scan_members(file, reader):
        key, kind, reason = _classify(member)
        if reason:
            tally.add(reason, member.name)
            continue
        if kind not in ("image", "cls", "json"):
            others += [(key, member.name)] if kind else []
            continue
        row = rows.setdefault(key, {})
        earlier = str(row.get("name", ""))
        if kind == "image" and earlier and not (_was_always_read(earlier) and _was_always_read(member.name)):
            is_better = _was_always_read(member.name)
            tally.add(_FURTHER_FORMAT, earlier if is_better else member.name)
            if not is_better:
                continue
        elif (key, kind) in known:
            problem = "a second image of the same key" if kind == "image" else "there twice"
            raise DataError(f"The member {member.name!r} of {file.name!r} is {problem}. Give every image its own key.")
        known.add((key, kind))
        if kind == "image":
            digest = _member_digest(reader, member)
            row |= {"start": member.start, "size": member.size, "sample": digest, "name": member.name}
        else:
            others.append((key, member.name))
            if member.size <= _LONGEST_LABEL:
                row[kind] = _parse_label(kind, reader.read(member.start, member.size))
    useful = {key: row for key, row in rows.items() if "start" in row or row.get("cls") or row.get("json")}
    for key, name in others:
        if key not in useful:
            tally.add(_of_suffix(suffix_of(name)) if suffix_of(name) else "members without an ending", name)
    return _build_index(file.size, useful, tally.passed_over)


def load_index(file: File) -> Index:
    """The index of a shard: from the file beside it if that fits, else from the cache, else made now and cached.

    A file beside the shard fits if it records the shard's size and, for local files, is not older than the shard. A
    file in the cache fits if the shard's size and modification time (or ETag) are the same.
    """
    index_file = sibling_file(file, index_name(file.base))
    if index_file is not None and not is_older(index_file, file):
        index = _parse_index(index_file.read(), file.size)
        if index is not None:
            return index
    return _load_cached(file)


def is_older(index: File, file: File) -> bool:
    """Whether an index was written before the last change of its file; False unless both are local."""
    return index.modified is not None and file.modified is not None and index.modified < file.modified


def save_index(path: Path, index: Index, more: Mapping[str, object]) -> None:
    """Writes an index atomically, with its summary and ``more`` values (JSON) as metadata."""
    metadata = json.dumps({"format": _FORMAT, **asdict(index.info), **more}, sort_keys=True)
    with atomic_write(path) as temporary:
        pq.write_table(index.table.replace_schema_metadata({_METADATA_KEY: metadata}), temporary, compression="zstd")


def read_metadata(path: Path) -> dict[str, object]:
    """The metadata that ``save_index`` wrote: the summary, and the values passed as ``more``."""
    metadata: dict[str, object] = json.loads(pq.read_schema(path).metadata[_METADATA_KEY])
    return metadata


_DOT = "images with a dot in the key, which ends at the first dot in WebDataset's layout (write other dots as %2E)"
_FURTHER_FORMAT = "further formats of an image"
_KINDS = {"link": "links", "special": "devices and pipes"}


def is_index_of(path: Path, size: int) -> bool:
    """Whether the index at ``path`` has the present format and was made of a tar file of ``size`` bytes."""
    metadata = read_metadata(path)
    return metadata.get("format") == _FORMAT and metadata.get("bytes") == size


def _classify(member: Member) -> tuple[str, str, str]:
    """The key and the kind of a member, and why it is passed over, or empty.

    The kind is ``image``, ``cls``, ``json``, ``other`` for further files of a key, or empty for a folder.
    """
    if member.kind != "file":
        return "", "", _KINDS.get(member.kind, "")
    name = member.name.removeprefix("./")
    suffix, base = suffix_of(name), name.rsplit("/", 1)[-1]
    if base.startswith("."):
        return "", "", "hidden files"
    match = _NAME.fullmatch(name)
    if match is None:
        return name, "other", ""
    extension = match[2].lower()
    if suffix in PILLOW_FORMAT and f".{extension}" != suffix:
        return "", "", _DOT
    if suffix in PILLOW_FORMAT:
        problem = missing_reader(suffix)
        return match[1], "image", f"{_of_suffix(suffix)} ({problem})" if problem else ""
    return match[1], extension if extension in ("cls", "json") else "other", ""


def _of_suffix(suffix: str) -> str:
    return f"members that end in {suffix}"


def _was_always_read(name: str) -> bool:
    """Whether an image is in a format of which a key could never have two; of the newer ones, it may have others."""
    return suffix_of(name) in FIRST_SUFFIXES


def _member_digest(reader: BlockReader, member: Member) -> bytes:
    length = min(SAMPLE_BYTES, member.size)
    head = reader.read(member.start, length)
    tail = reader.read(member.start + member.size - length, length)
    return sample_digest(member.size, head, tail)


def _parse_label(kind: str, content: bytes) -> str | None:
    """The label in a ``.cls`` or ``.json`` member, or None."""
    try:
        text = content.decode("utf-8")
        if kind == "cls":
            return label_text(text)
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    fields = [value[name] for name in _JSON_FIELDS if name in value] if isinstance(value, dict) else []
    return next((text for text in map(label_text, fields) if text is not None), None)


def _build_index(size: int, rows: Mapping[str, Mapping[str, object]], passed_over: tuple[PassedOver, ...]) -> Index:
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
    return Index(table, _summarize(table, size, passed_over))


def _summarize(table: pa.Table, size: int, passed_over: tuple[PassedOver, ...]) -> ShardInfo:
    """The summary of an index; its digests do not depend on the positions of the images in the file."""
    content = hashlib.sha256(json.dumps(table["key"].to_pylist()).encode())
    content.update(table["size"].to_numpy().tobytes())
    content.update(b"".join(table["sample"].to_pylist()))
    labels = hashlib.sha256(json.dumps(table["label"].to_pylist()).encode())
    kept = tuple(replace(each, names=each.names[:_NAMES_IN_INDEX]) for each in passed_over)
    return ShardInfo(size, table.num_rows, content.hexdigest()[:32], labels.hexdigest()[:32], kept)


def _parse_index(content: bytes, size: int) -> Index | None:
    """The index in the bytes of a Parquet file, or None if it is of another file or format, or not valid."""
    try:
        table = pq.read_table(pa.BufferReader(content))
        metadata = json.loads((table.schema.metadata or {})[_METADATA_KEY])
        fits = metadata["format"] == _FORMAT and metadata["bytes"] == size and table.schema.equals(_SCHEMA)
        passed_over = ShardInfo.of_json(metadata).passed_over if fits else ()
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None
    if not fits or any(_lacked_reader(each.what) for each in passed_over):
        return None
    table = table.replace_schema_metadata(None)
    end = pc.add(table["start"], table["size"])
    inside = pc.and_(pc.greater_equal(table["start"], BLOCK), pc.less_equal(end, size))
    absent = pc.and_(pc.equal(table["start"], NO_IMAGE), pc.equal(table["size"], 0))
    is_valid = pc.and_(pc.or_(inside, absent), pc.greater_equal(table["size"], 0))
    return Index(table, _summarize(table, size, passed_over)) if pc.all(is_valid, min_count=0).as_py() else None


def _lacked_reader(what: str) -> bool:
    """Whether images were passed over for want of a reader that is there now."""
    return any(what.startswith(f"{_of_suffix(suffix)} (") for suffix in readable_suffixes())


def _load_cached(file: File) -> Index:
    """The index of the shard from the cache folder; made and saved there first if it is missing."""
    identity = json.dumps([_FORMAT, file.name if file.filesystem else str(Path(file.name).resolve()), file.stamp])
    path = cache_folder() / "shards" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.parquet"
    if path.is_file():
        index = _parse_index(path.read_bytes(), file.size)
        if index is not None:
            return index
    index = make_index(file)
    remove_abandoned(path.parent)
    try:
        save_index(path, index, {"shard": file.name})
    except OSError as error:
        raise DataError(
            f"The index of {file.name!r} cannot be saved in {path.parent} ({error.strerror}). Make that folder "
            "writable, or set XDG_CACHE_HOME to another folder."
        ) from error
    return index
