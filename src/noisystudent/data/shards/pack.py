"""Any source written as tar shards with index, class names and catalog; the bytes of images stay as they are."""

from __future__ import annotations

import io
import itertools
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from noisystudent.artifacts.folder import State, atomic_write, commit, folder_lock, prepare, read_json, write_json
from noisystudent.data.files import File, file_at, is_url
from noisystudent.data.images import Failure
from noisystudent.data.shards.catalog import CATALOG, write_catalog
from noisystudent.data.shards.index import Facts, index_name, load_index, make_index, read_facts, save_index
from noisystudent.data.source import Record, Source
from noisystudent.data.sources.folder import SUFFIXES
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError, SettingsError
from noisystudent.runtime.progress import Reporter

SHARDS = "packed shards"  # the kind of artifact
ROWS_PER_SHARD, BYTES_PER_SHARD = 10_000, 10**9

_FAILURES = "failures.json"
_LONGEST_KEY = 1000  # characters
# How files of images begin, for those whose key does not tell.
_BEGINNINGS = ((b"\xff\xd8", "jpg"), (b"\x89PNG", "png"), (b"GIF8", "gif"), (b"BM", "bmp"), (b"RIFF", "webp"))


@dataclass(frozen=True)
class Packed:
    """What ``pack`` wrote: the number of tar files and of images in them, and what was left out and why."""

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
) -> Packed:
    """Any source as tar shards in WebDataset's layout, with index, class names and catalog, in the folder ``out``.

    The bytes of images are kept as they are, undecoded; arrays become PNG. A shard is full at so many rows or bytes,
    whichever comes first. Killed and called again, it keeps the shards that are finished. An image that cannot be read
    is left out and listed, also in ``failures.json``.
    """
    for name, value in (("rows", rows_per_shard), ("bytes", bytes_per_shard)):
        if value < 1:
            raise SettingsError(f"the {name} per shard are {value}; give a whole number of at least 1.")
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
) -> Packed:
    """Writes ``shard-000000.tar`` and so on, each full at so many rows or bytes, whichever comes first.

    Members are ``<key>.<ending>`` and, for a labeled source, ``<key>.cls`` with the number of the class; the key loses
    the ending of an image, and its other dots become ``%2E``. Arrays become PNG. Equal sources give equal bytes.
    Killed and called again, it keeps the shards that are finished. An image that cannot be read is left out and
    listed. Raises ``DataError`` for a key that is unsafe as a name and for two keys that would become one.
    """
    inputs = {
        "source": source.fingerprint,
        "classes": None if source.classes is None else list(source.classes),
        "rows_per_shard": rows_per_shard,
        "bytes_per_shard": bytes_per_shard,
    }
    with folder_lock(folder):
        state, _ = prepare(folder, inputs)
        if state is not State.COMPLETE:
            facts, failures = _write_all(source, folder, rows_per_shard, bytes_per_shard, progress)
            if not any(each.rows for each in facts.values()):
                raise DataError(f"None of the images of {source.name!r} can be read, so there is nothing to pack.")
            if source.classes is not None:
                write_json(folder / "classes.json", list(source.classes))
            write_json(folder / _FAILURES, failures)
            write_catalog(folder, source.classes is not None, facts)
            commit(folder, SHARDS, inputs, volatile=tuple(facts))  # the catalog identifies the tar files
        told = read_json(folder / CATALOG)["shards"]
        failed = [Failure(*pair) for pair in read_json(folder / _FAILURES)]
        return Packed(folder, len(told), sum(each["rows"] for each in told), failed)


def _write_all(
    source: Source, folder: Path, rows: int, size: int, progress: Callable[[int], None] | None
) -> tuple[dict[str, Facts], list[list[str]]]:
    """Every shard that is not finished yet; the facts of all by name, and the images left out."""
    facts: dict[str, Facts] = {}
    failures: list[list[str]] = []
    seen: set[str] = set()
    position, total = 0, sum(source.shard_sizes)
    records: Iterator[Record] | None = None
    while position < total:
        path = folder / f"shard-{len(facts):06d}.tar"
        if _is_finished(path):
            seen.update(load_index(_file(path)).table["key"].to_pylist())
        else:
            records = records or _records_from(source, position)
            _write_shard(path, records, seen, rows, size)
        told: dict[str, Any] = read_facts(path.with_name(index_name(path.name)))
        facts[path.name] = Facts(*(told[name] for name in ("bytes", "rows", "content", "labels", "ignored")))
        failures += told["failures"]
        position += told["taken"]
        if progress is not None:
            progress(told["taken"])
    return facts, failures


def _records_from(source: Source, position: int) -> Iterator[Record]:
    """The records from a row on; whole shards before it are not read."""
    for shard, rows in enumerate(source.shard_sizes):
        if position < rows:
            yield from itertools.islice(source.read(shard), max(0, position), None)
        position -= rows


def _is_finished(path: Path) -> bool:
    """Whether a shard and its index, which is written last, are there and fit each other."""
    index = path.with_name(index_name(path.name))
    return path.is_file() and index.is_file() and read_facts(index).get("bytes") == path.stat().st_size


def _write_shard(path: Path, records: Iterator[Record], seen: set[str], most_rows: int, most_bytes: int) -> None:
    """One shard and then its index, each whole or not at all; adds its keys to ``seen``."""
    taken = rows = size = 0
    failures: list[list[str]] = []
    with atomic_write(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
        while rows < most_rows and size < most_bytes:
            record = next(records, None)
            if record is None:
                break
            taken += 1
            if record.problem:
                failures.append([record.key, record.problem])
                continue
            key = member_key(record.key)
            if key in seen:
                raise DataError(
                    f"Two images would have the key {key!r} in the shards, {record.key!r} and one before it. Rename "
                    "one of them: endings do not tell keys apart."
                )
            seen.add(key)
            content, ending = _encoded(record)
            _add(archive, f"{key}.{ending}", content)
            if record.label >= 0:
                _add(archive, f"{key}.cls", str(record.label).encode())
            rows, size = rows + 1, size + len(content)
    index = make_index(_file(path))
    assert index.facts.rows == rows
    save_index(path.with_name(index_name(path.name)), index, {"taken": taken, "failures": failures})


def member_key(key: str) -> str:
    """The key of a record as it stands in a tar file, without the ending of an image and without further dots.

    Raises ``DataError`` for one that is no safe relative name: empty, absolute, with ``..``, hidden, with control
    characters or backslashes, or longer than 1000 characters.
    """
    name = key.replace("://", "/", 1) if is_url(key) else key
    stem, dot, ending = name.rpartition(".")
    if dot and f".{ending.lower()}" in SUFFIXES:
        name = stem
    parts = name.split("/")
    unsafe = any(part in ("", ".", "..") for part in parts) or parts[-1].startswith(".") or "\\" in name
    if unsafe or len(name) > _LONGEST_KEY or not name.isprintable():
        raise DataError(
            f"The key {key!r} is not safe as a name in a tar file: it must be relative, without '..', hidden names, "
            f"backslashes and control characters, and of at most {_LONGEST_KEY} characters. Rename the image."
        )
    return "/".join([*parts[:-1], parts[-1].replace("%", "%25").replace(".", "%2E")])


def _encoded(record: Record) -> tuple[bytes, str]:
    """The bytes of an image file, and the ending of its name."""
    if not isinstance(record.image, bytes):
        buffer = io.BytesIO()
        Image.fromarray(record.image).save(buffer, "PNG")
        return buffer.getvalue(), "png"
    ending = record.key.rpartition(".")[2].lower()
    if f".{ending}" in SUFFIXES:
        return record.image, ending
    return record.image, next((name for begin, name in _BEGINNINGS if record.image.startswith(begin)), "jpg")


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """A member that says nothing of who wrote it and when."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(content), 0o644, 0
    archive.addfile(info, io.BytesIO(content))


def _file(path: Path) -> File:
    file = file_at(str(path))
    assert file is not None
    return file
