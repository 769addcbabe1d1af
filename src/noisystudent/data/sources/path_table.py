"""Images listed in a table: a CSV or Parquet file with a column of paths and, if labeled, one of labels."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import pyarrow.parquet as pq
from pyarrow import ArrowException, BufferReader

from noisystudent.data.files import SAMPLE_BYTES, File, file_at, is_url, sample_digest
from noisystudent.data.source import NO_LABEL, PassedOver, Record, cut_shards, shard_slice, size_problem
from noisystudent.data.sources.labels import label_text
from noisystudent.data.sources.tables import check_keys, known_truth, resolve_labels
from noisystudent.errors import DataError

# A table from elsewhere may point to stores, but never to local files outside its folder.
ALLOWED_SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "abfss", "http", "https", "hf")

_READERS = 16  # threads that read images
_CHUNK = 4 * _READERS  # most images in memory


class PathTableSource:
    """The images that a table lists, in its order; the paths in the table are the keys.

    ``spec`` is the path or URL of a ``.csv`` or ``.parquet`` file with a column ``path`` and, if labeled, ``label``
    (names, or numbers from 0). Paths are relative to the table's folder and must stay inside it: absolute paths and
    ``..`` are errors, and a symbolic link that leads out of it gives a record with a ``problem``. A path may also be a
    URL of a store (s3, gs, gcs, az, abfs, abfss, http, https, hf), or with the same scheme as the table's own URL.
    Raises ``DataError``.
    """

    def __init__(self, spec: str, *, labeled: bool) -> None:
        self.name = spec
        table = file_at(spec)
        if table is None:
            raise DataError(f"There is no file {spec!r}. Check the name.")
        self._folder = table.folder
        columns = _read_csv(table) if table.base.lower().endswith(".csv") else _read_parquet(table)
        if "path" not in columns:
            raise DataError(
                f"{spec!r} has the columns {', '.join(map(repr, columns)) or 'none'}, and 'path' is needed. Give the "
                "column of paths this name."
            )
        self._keys = check_keys(spec, columns["path"])
        if not self._keys:
            raise DataError(f"{spec!r} names no images. Write one path per row.")
        for key in self._keys:
            _check_path(spec, key)
        self._texts = [label_text(value) for value in columns.get("label", [])]
        self.shard_sizes: tuple[int, ...] = cut_shards(len(self._keys))
        self.passed_over: tuple[PassedOver, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.files: Mapping[str, str] = {}
        self.classes: tuple[str, ...] | None = None
        self._labels: list[int] | None = None
        if labeled:
            if not self._texts:
                raise DataError(
                    f"{spec!r} is given as labeled but has no column 'label'. Add it, or give it as unlabeled."
                )
            self.classes, self._labels = resolve_labels(spec, self._keys, self._texts, None)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the keys, the labels, the classes, and the size, first or last 4 KiB of each image."""
        total = hashlib.sha256(json.dumps(["manifest", self.classes, self._keys, self._labels]).encode())
        with ThreadPoolExecutor(_READERS) as pool:
            for digest in pool.map(self._digest, self._keys):
                total.update(digest)
        return total.hexdigest()

    def read(self, shard: int) -> Iterator[Record]:
        """The records of one shard; an unreadable image has a ``problem``."""
        return self.read_rows(shard, range(self.shard_sizes[shard]))

    def read_rows(self, shard: int, rows: Sequence[int]) -> Iterator[Record]:
        """The given rows of one shard, in that order; several images are read at the same time."""
        first = shard_slice(shard).start
        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(rows), _CHUNK):
                chunk = rows[start : start + _CHUNK]
                contents = pool.map(self._content, [self._keys[first + row] for row in chunk])
                for row, (content, problem) in zip(chunk, contents, strict=True):
                    label = NO_LABEL if self._labels is None else self._labels[first + row]
                    yield Record(self._keys[first + row], content, label, problem)

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """The class name of each key, for reports only, or None unless every label is one of ``classes``."""
        return known_truth(self._keys, self._texts, None, classes) if self._texts else None

    def _content(self, key: str) -> tuple[bytes, str]:
        """The bytes of an image and an empty string, or no bytes and the reason."""
        try:
            return self._file(key).read(), ""
        except DataError as error:
            return b"", str(error)

    def _digest(self, key: str) -> bytes:
        try:
            file = self._file(key)
            length = min(SAMPLE_BYTES, file.size)
            return sample_digest(file.size, file.read(0, length), file.read(file.size - length, length))
        except DataError:
            return b"unreadable"

    def _file(self, key: str) -> File:
        location = key if is_url(key) else f"{self._folder}/{key}"
        if not is_url(location) and not Path(location).resolve().is_relative_to(Path(self._folder).resolve()):
            raise DataError(f"{key!r} is a link that leads out of {self._folder!r}")
        file = file_at(location)
        if file is None:
            raise DataError(f"there is no file {location!r}")
        if problem := size_problem(file.size):
            raise DataError(problem)
        return file


def _check_path(spec: str, key: str) -> None:
    """Raises ``DataError`` for a path that leads neither below the table's folder nor to a store."""
    if is_url(key):
        scheme = key.split("://", 1)[0]
        table_scheme = spec.split("://", 1)[0] if is_url(spec) else None
        if scheme not in ALLOWED_SCHEMES and scheme != table_scheme:
            raise DataError(
                f"{spec!r} names {key!r}, and URLs in a table may begin with {', '.join(ALLOWED_SCHEMES)}"
                f"{f' or {table_scheme}' if table_scheme else ''} only. Write a path relative to the table's folder."
            )
    elif not key or posixpath.isabs(key) or ".." in key.split("/") or "\0" in key:
        raise DataError(
            f"{spec!r} names {key!r}, and paths in a table are relative to its folder and stay inside, without '..'. "
            "Put the table into a folder above the images and write paths relative to it."
        )


def _read_csv(file: File) -> dict[str, list[object]]:
    try:
        rows = list(csv.DictReader(io.StringIO(file.read().decode("utf-8-sig"), newline="")))
    except (ValueError, csv.Error) as error:
        raise DataError(
            f"{file.name!r} cannot be read as CSV ({error}). Write UTF-8 with the column names in the first line."
        ) from error
    short = next((number for number, row in enumerate(rows, start=2) if None in row or None in row.values()), None)
    if short is not None:
        raise DataError(f"Row {short} of {file.name!r} has more or fewer fields than the first line. Quote commas.")
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else {"path": ""})}


def _read_parquet(file: File) -> dict[str, list[object]]:
    try:
        parquet = pq.ParquetFile(BufferReader(file.read()))
        names = [name for name in ("path", "label") if name in parquet.schema_arrow.names]
        table = parquet.read(columns=names)
    except (ArrowException, OSError) as error:
        raise DataError(
            f"{file.name!r} cannot be read as Parquet ({error}). It may be cut short: copy or make it again."
        ) from error
    return {name: table[name].to_pylist() for name in names}
