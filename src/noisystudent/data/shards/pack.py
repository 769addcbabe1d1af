"""Writes any source as tar shards with index, class names and catalog, without re-encoding the images."""

from __future__ import annotations

import io
import itertools
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from noisystudent.artifacts.archives import prepare
from noisystudent.artifacts.damage import reopen_damaged
from noisystudent.artifacts.folder import State, atomic_write, commit, read_json, state_of, write_json
from noisystudent.artifacts.ownership import folder_lock
from noisystudent.data.files import File, file_at, is_url
from noisystudent.data.formats import FIRST_SUFFIXES, SUFFIXES, ending_of, missing_reader
from noisystudent.data.images import Failure
from noisystudent.data.output import require_output_folder
from noisystudent.data.shards.catalog import CATALOG, write_catalog
from noisystudent.data.shards.index import (
    ShardInfo,
    index_name,
    is_index_of,
    load_index,
    make_index,
    read_metadata,
    save_index,
)
from noisystudent.data.source import Record, Source
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError, SettingsError
from noisystudent.runtime.progress import Reporter

SHARDS = "packed shards"  # the kind of artifact
ROWS_PER_SHARD, BYTES_PER_SHARD = 10_000, 10**9

_FAILURES = "failures.json"
_LONGEST_KEY = 1000  # characters


@dataclass(frozen=True)
class PackResult:
    """The result of ``pack``: the numbers of tar files and of images in them, and the images left out, with reasons."""

    folder: Path
    shards: int
    images: int
    failures: list[Failure]


def pack(
    *,
    source: str | Path,
    out: str | Path,
    labeled: bool = False,
    rows_per_shard: int = ROWS_PER_SHARD,
    bytes_per_shard: int = BYTES_PER_SHARD,
    quiet: bool = False,
) -> PackResult:
    """Writes any source as tar shards in the WebDataset layout, with index, class names and catalog.

    The bytes of image files are copied without decoding; arrays become PNG files. If the call is interrupted and
    repeated, finished shards are reused. Unreadable images are left out and listed, also in ``failures.json``.

    Args:
        source: any source that ``docs/sources.md`` lists: a folder, ``.npz``, tar, Parquet or CSV file, URL, ``hf:``.
        out: the folder to write.
        labeled: whether the source has labels, to be packed too.
        rows_per_shard: most images per shard, at least 1.
        bytes_per_shard: a shard is full when its images have this many bytes, at least 1, or ``rows_per_shard``.
        quiet: show no progress bar.

    Returns:
        The folder, the numbers of shards and images, and the images left out.

    Raises:
        DataError: the source is missing or unreadable, a key is unsafe as a file name, or two keys become the same.
        SettingsError: ``rows_per_shard`` or ``bytes_per_shard`` is below 1.
    """
    for name, value in (("rows", rows_per_shard), ("bytes", bytes_per_shard)):
        if value < 1:
            raise SettingsError(f"the {name} per shard are {value}; give a whole number of at least 1.")
    require_output_folder(out, [source])
    opened = open_source(source, labeled=labeled)
    with Reporter(quiet=quiet).bar("pack", sum(opened.shard_sizes), "images") as bar:
        return pack_source(
            opened, Path(out), rows_per_shard=rows_per_shard, bytes_per_shard=bytes_per_shard, progress=bar.advance
        )


def pack_source(
    source: Source,
    folder: Path,
    *,
    rows_per_shard: int = ROWS_PER_SHARD,
    bytes_per_shard: int = BYTES_PER_SHARD,
    progress: Callable[[int], None] | None = None,
) -> PackResult:
    """Writes ``source`` as ``shard-000000.tar`` and so on, as ``pack`` does.

    Members are ``<key>.<ending>`` and, for a labeled source, ``<key>.cls`` with the class index. The key loses its
    image ending, and its other dots become ``%2E``. Equal sources give equal bytes. Raises ``DataError`` for a key that
    is unsafe as a file name, and for two keys that become the same.
    """
    inputs = {
        "source": source.fingerprint,
        "classes": None if source.classes is None else list(source.classes),
        "rows_per_shard": rows_per_shard,
        "bytes_per_shard": bytes_per_shard,
    }
    with folder_lock(folder):
        prepare(folder, inputs)
        reopen_damaged(folder, inputs)
        if state_of(folder, inputs) is not State.COMPLETE:
            shards, failures = _write_all(source, folder, rows_per_shard, bytes_per_shard, progress)
            if not any(shard.rows for shard in shards.values()):
                raise DataError(f"None of the images of {source.name!r} can be read, so there is nothing to pack.")
            if source.classes is not None:
                write_json(folder / "classes.json", list(source.classes))
            write_json(folder / _FAILURES, failures)
            write_catalog(folder, source.classes is not None, shards)
            commit(folder, SHARDS, inputs, volatile=tuple(shards))  # the catalog identifies the tar files
        entries = read_json(folder / CATALOG)["shards"]
        left_out = [Failure(*pair) for pair in read_json(folder / _FAILURES)]
        return PackResult(folder, len(entries), sum(entry["rows"] for entry in entries), left_out)


def _write_all(
    source: Source, folder: Path, rows_per_shard: int, bytes_per_shard: int, progress: Callable[[int], None] | None
) -> tuple[dict[str, ShardInfo], list[list[str]]]:
    """Writes every shard that is not finished; returns the summaries of all by file name, and the images left out."""
    shards: dict[str, ShardInfo] = {}
    failures: list[list[str]] = []
    keys: set[str] = set()
    position, total = 0, sum(source.shard_sizes)
    records: Iterator[Record] | None = None
    while position < total:
        path = folder / f"shard-{len(shards):06d}.tar"
        if _is_finished(path):
            keys.update(load_index(_file(path)).table["key"].to_pylist())
        else:
            records = records or _records_from(source, position)
            _write_shard(path, records, keys, rows_per_shard, bytes_per_shard)
        metadata: dict[str, Any] = read_metadata(path.with_name(index_name(path.name)))
        shards[path.name] = ShardInfo.of_json(metadata)
        failures += metadata["failures"]
        position += metadata["taken"]
        if progress is not None:
            progress(metadata["taken"])
    return shards, failures


def _records_from(source: Source, position: int) -> Iterator[Record]:
    """The records from a row on; shards that lie entirely before it are not read."""
    for shard, rows in enumerate(source.shard_sizes):
        if position < rows:
            yield from itertools.islice(source.read(shard), max(0, position), None)
        position -= rows


def _is_finished(path: Path) -> bool:
    """Whether a shard and its index, which is written last, exist and match."""
    index = path.with_name(index_name(path.name))
    return path.is_file() and index.is_file() and is_index_of(index, path.stat().st_size)


def _write_shard(
    path: Path, records: Iterator[Record], keys: set[str], rows_per_shard: int, bytes_per_shard: int
) -> None:
    """Writes one shard and then its index, both atomically; adds its keys to ``keys``."""
    taken = rows = size = 0
    failures: list[list[str]] = []
    with atomic_write(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
        while rows < rows_per_shard and size < bytes_per_shard:
            record = next(records, None)
            if record is None:
                break
            taken += 1
            content, ending = _encode(record)
            problem = record.problem or missing_reader(f".{ending}")
            if problem:
                failures.append([record.key, problem])
                continue
            key = member_key(record.key)
            if key in keys and f".{ending}" not in FIRST_SUFFIXES:  # beside an image that was always read
                key = member_key(f"{record.key}.{ending}")
            if key in keys:
                raise DataError(
                    f"Two images would have the key {key!r} in the shards, {record.key!r} and one before it. Rename "
                    "one of them: keys must differ in more than the ending."
                )
            keys.add(key)
            _add_member(archive, f"{key}.{ending}", content)
            if record.label >= 0:
                _add_member(archive, f"{key}.cls", str(record.label).encode())
            rows, size = rows + 1, size + len(content)
    index = make_index(_file(path))
    assert index.info.rows == rows
    save_index(path.with_name(index_name(path.name)), index, {"taken": taken, "failures": failures})


def member_key(key: str) -> str:
    """The key of a record as a member name in a tar file, without the image ending and without further dots.

    Raises ``DataError`` for a key that is not a safe relative name: empty, absolute, hidden, with ``..``, control
    characters or backslashes, or longer than 1000 characters.
    """
    name = key.replace("://", "/", 1) if is_url(key) else key
    stem, dot, ending = name.rpartition(".")
    if dot and f".{ending.lower()}" in SUFFIXES:
        name = stem
    parts = name.split("/")
    is_unsafe = any(part in ("", ".", "..") for part in parts) or parts[-1].startswith(".") or "\\" in name
    if is_unsafe or len(name) > _LONGEST_KEY or not name.isprintable():
        raise DataError(
            f"The key {key!r} is not safe as a name in a tar file: it must be relative, without '..', hidden names, "
            f"backslashes and control characters, and have at most {_LONGEST_KEY} characters. Rename the image."
        )
    return "/".join([*parts[:-1], parts[-1].replace("%", "%25").replace(".", "%2E")])


def _encode(record: Record) -> tuple[bytes, str]:
    """The bytes of an image file, and the ending for its name."""
    if not isinstance(record.image, bytes):
        buffer = io.BytesIO()
        Image.fromarray(record.image).save(buffer, "PNG")
        return buffer.getvalue(), "png"
    ending = record.key.rpartition(".")[2].lower()
    if f".{ending}" in SUFFIXES:
        return record.image, ending
    return record.image, ending_of(record.image) or "jpg"


def _add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Adds a member without owner and time, so that equal contents give equal bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(content), 0o644, 0
    archive.addfile(info, io.BytesIO(content))


def _file(path: Path) -> File:
    file = file_at(str(path))
    assert file is not None
    return file
