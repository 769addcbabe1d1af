"""Images as bytes in Parquet files, in the layout of the Hugging Face hub, read by row group or in smaller parts."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from noisystudent.data.files import SAMPLE_BYTES, File, list_files, short_names
from noisystudent.data.source import NO_LABEL, SHARD_ROWS, PassedOver, Record, count_labels, cut_shards, printable
from noisystudent.data.sources.columns import NO_BYTES, Columns, find_columns, holds_bytes
from noisystudent.data.sources.labels import classes_for
from noisystudent.data.sources.table_files import check_rows, is_path_column
from noisystudent.data.sources.tables import RowKeys, check_keys, known_truth, label_texts, resolve_labels
from noisystudent.errors import DataError

_OPENERS = 8  # threads that read footers
_BUFFER_BYTES = 2**22  # per read
_BATCH_ROWS = 32  # converted to Python objects at once


@dataclass(frozen=True)
class _RowRange:
    """The position of a shard's rows: file, row group, first row in the group and in the file, number of rows."""

    file: int
    group: int
    first: int
    first_in_file: int
    rows: int


class ParquetSource:
    """The rows of Parquet files; a shard is up to 1024 consecutive rows of one row group.

    ``spec`` is a ``.parquet`` file, a folder of them, or a pattern with braces or wildcards, as a path or URL. Images
    are in the column ``image`` (or ``img``, ``picture``, or the only column of bytes), binary or a struct with a field
    ``bytes``. Labels are in ``label`` (or ``labels``, ``class``), as names or as numbers, whose names come from the
    schema's Hugging Face metadata, if any. Keys are in ``key`` or ``id``; otherwise they are ``<file>:<row>``. Raises
    ``DataError``.
    """

    def __init__(self, spec: str, *, labeled: bool) -> None:
        self.name = printable(spec)
        self._files = list_files(spec, ".parquet")
        with ThreadPoolExecutor(_OPENERS) as pool:
            footers = list(pool.map(_footer, self._files))
        self._columns = find_columns(self._files[0].name, footers[0].schema.to_arrow_schema())
        for file, footer in zip(self._files, footers, strict=True):
            _check_same(file, find_columns(file.name, footer.schema.to_arrow_schema()), self._files[0], self._columns)
        self._rows: list[int] = [footer.num_rows for footer in footers]
        if not sum(self._rows):
            raise DataError(f"The {len(self._files)} files of {spec!r} have no rows. Give files with images.")
        self._ranges = [
            row_range for number, footer in enumerate(footers) for row_range in _row_ranges(number, _group_rows(footer))
        ]
        self.passed_over: tuple[PassedOver, ...] = ()
        self.notes: tuple[str, ...] = ()
        self.classes: tuple[str, ...] | None = None
        self._keys = self._all_keys()
        self._labels: npt.NDArray[np.int64] | None = None
        if labeled:
            if self._columns.label(self.name) is None:
                raise DataError(
                    f"{spec!r} is given as labeled but has no column 'label'. Give the column of labels this name, or "
                    "give the source as unlabeled."
                )
            labels = resolve_labels(
                spec, self._keys, self._label_texts, self._class_names, numbers_first=self._columns.numbers
            )
            self.notes = self._class_file[1]
            self.classes, self._labels, self.passed_over = labels.classes, labels.by_row, labels.passed_over
            self._ranges = [row_range for row_range in self._ranges if self._kept_rows(row_range)]
        self.shard_sizes: tuple[int, ...] = tuple(len(self._kept_rows(row_range)) for row_range in self._ranges)
        self._open_readers: dict[tuple[int, int, int], Iterator[bytes | None]] = {}  # in the middle of a row group

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the keys, the labels, the classes, the file footers, and 4 KiB at each end of every row group.

        A footer holds the compressed sizes of all columns of all row groups. A change of the images is therefore missed
        only if it leaves the size exactly the same and lies inside a row group.
        """
        keys = self._keys if isinstance(self._keys, tuple) else [self._names, self._rows]
        labels = None if self._labels is None else self._labels.tolist()
        total = hashlib.sha256(json.dumps(["parquet", self.classes, self.shard_sizes, keys, labels]).encode())
        total.update("".join(self.files.values()).encode())
        return total.hexdigest()

    @cached_property
    def files(self) -> dict[str, str]:
        """A digest of each file by name: its footer, and 4 KiB at each end of every row group."""
        with ThreadPoolExecutor(_OPENERS) as pool:
            digests = pool.map(lambda file: _file_digest(file, self._columns.image_path), self._files)
            return dict(zip(self._names, digests, strict=True))

    def read(self, shard: int) -> Iterator[Record]:
        """The records of one shard; reading shards in order continues where the previous one ended."""
        row_range = self._ranges[shard]
        file, first = self._files[row_range.file], self._first_row(row_range)
        kept = set(self._kept_rows(row_range))
        images = self._open_readers.pop((row_range.file, row_range.group, row_range.first), None)
        with _parquet_errors(file):
            if images is None:
                images = itertools.islice(_images(file, row_range.group, self._columns), row_range.first, None)
            for row in range(first, first + row_range.rows):
                content = next(images)
                if row not in kept:
                    continue
                label = NO_LABEL if self._labels is None else int(self._labels[row])
                yield Record(self._keys[row], content or b"", label, "" if content else NO_BYTES)
        self._open_readers.clear()
        self._open_readers[row_range.file, row_range.group, row_range.first + row_range.rows] = images

    def keys(self, shard: int) -> Sequence[str]:
        """The keys of one shard, in order."""
        return [self._keys[row] for row in self._kept_rows(self._ranges[shard])]

    def count_labels(self) -> list[int]:
        """The number of images per class, in the order of ``classes``."""
        return count_labels(self._labels, len(self.classes or ()))

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """The class name of each key, for reports only, or None unless every label is one of ``classes``."""
        if len(self._columns.labels) != 1:
            return None
        try:
            texts = self._label_texts
        except DataError:  # labels that are none matter only where they are needed
            return None
        return known_truth(self._keys, texts, self._class_names, classes, numbers_first=self._columns.numbers)

    def _first_row(self, row_range: _RowRange) -> int:
        """The number of a range's first row among the rows of all files."""
        return sum(self._rows[: row_range.file]) + row_range.first_in_file

    def _kept_rows(self, row_range: _RowRange) -> Sequence[int]:
        """The rows of a range, of all files, without those that are left out because they have no label."""
        first = self._first_row(row_range)
        rows = range(first, first + row_range.rows)
        return rows if self._labels is None else [row for row in rows if self._labels[row] >= 0]

    def _all_keys(self) -> Sequence[str]:
        if self._columns.key is not None:
            return check_keys(self.name, self._column(self._columns.key).to_pylist())
        check_keys(self.name, self._names)
        return RowKeys(self._names, self._rows)

    @cached_property
    def _names(self) -> list[str]:
        return short_names(self._files)

    @cached_property
    def _label_texts(self) -> list[str | None]:
        label = self._columns.label(self.name)
        return label_texts(self.name, self._column(label).to_pylist() if label else ())

    @cached_property
    def _class_names(self) -> tuple[str, ...] | None:
        """The class names in the schema, or else in a file beside the first file."""
        return self._columns.classes or self._class_file[0]

    @cached_property
    def _class_file(self) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        """The class names in a file beside the first file, and a note if that is not used."""
        return (None, ()) if self._columns.classes else classes_for(self._files[0], self._label_texts)

    def _column(self, name: str) -> pa.ChunkedArray:
        """A small column, from all files."""
        with ThreadPoolExecutor(_OPENERS) as pool:
            parts = list(pool.map(lambda file: _column_of(file, name), self._files))
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks])


class _Readable(io.RawIOBase):
    """A ``File`` as a Python file object, for pyarrow."""

    def __init__(self, file: File) -> None:
        self._file, self._position = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._file.size - self._position)
        content = self._file.read(self._position, left if size < 0 else min(size, left)) if left else b""
        self._position += len(content)
        return content


@contextmanager
def _parquet_errors(file: File) -> Iterator[None]:
    """Turns pyarrow's errors about damage into a ``DataError`` that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise DataError(
            f"{file.name!r} cannot be read as Parquet ({error or 'a row group is shorter than it says'}). It was cut "
            "short or is damaged: copy or make it again."
        ) from error


def is_path_table(spec: str) -> bool:
    """Whether a spec is a single Parquet file with a column of paths and no image bytes: a table of paths."""
    files = list_files(spec, ".parquet")
    if len(files) > 1:
        return False
    footer = _footer(files[0])
    schema = footer.schema.to_arrow_schema()
    with_bytes = [field for field in schema if holds_bytes(field.type)]
    return any(map(is_path_column, schema)) and all(_has_no_bytes(footer, field) for field in with_bytes)


def _has_no_bytes(footer: pq.FileMetaData, field: pa.Field) -> bool:
    """Whether a struct of bytes and path has paths only, by the counts of missing values in the footer."""
    if not is_path_column(field):
        return False
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    bytes_chunks = [chunk for chunk in chunks if chunk.path_in_schema == f"{field.name}.bytes"]
    return all(
        chunk.statistics is not None and chunk.statistics.null_count == chunk.num_values for chunk in bytes_chunks
    )


def _open(file: File) -> pq.ParquetFile:
    return pq.ParquetFile(pa.PythonFile(_Readable(file), mode="r"), buffer_size=_BUFFER_BYTES, pre_buffer=False)


def _footer(file: File) -> pq.FileMetaData:
    with _parquet_errors(file):
        footer = _open(file).metadata
        check_rows(file, footer)
        return footer


def _column_of(file: File, name: str) -> pa.ChunkedArray:
    with _parquet_errors(file):
        return _open(file).read(columns=[name]).column(name)


def _images(file: File, group: int, columns: Columns) -> Iterator[bytes | None]:
    """Streams the image bytes of each row of a row group."""
    batches = _open(file).iter_batches(
        batch_size=_BATCH_ROWS, row_groups=[group], columns=[columns.image_path], use_threads=False
    )
    for batch in batches:
        values = batch.column(0)
        if columns.nested:
            values = pa.compute.struct_field(values, "bytes")
        yield from values.to_pylist()


def _group_rows(footer: pq.FileMetaData) -> list[int]:
    return [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]


def _row_ranges(file: int, groups: Sequence[int]) -> Iterator[_RowRange]:
    start = 0  # of the row group, in the file
    for group, group_rows in enumerate(groups):
        for first, rows in zip(itertools.count(0, SHARD_ROWS), cut_shards(group_rows), strict=False):
            yield _RowRange(file, group, first, start + first, rows)
        start += group_rows


def _check_same(file: File, columns: Columns, first_file: File, expected: Columns) -> None:
    if columns != expected:
        raise DataError(
            f"The columns of {file.name!r} differ from those of {first_file.name!r}: {columns} and {expected}. Give "
            "files of the same data set."
        )


def _file_digest(file: File, image_path: str) -> str:
    """A digest of a file's footer and of both ends of the images of each row group."""
    footer_bytes = int.from_bytes(file.read(file.size - 8, 4), "little")
    total = hashlib.sha256(file.read(file.size - 8 - footer_bytes, footer_bytes))
    footer = _footer(file)
    for group in range(footer.num_row_groups):
        columns = [footer.row_group(group).column(number) for number in range(footer.num_columns)]
        for column in columns:
            if column.path_in_schema == image_path:
                start = column.dictionary_page_offset or column.data_page_offset
                size = column.total_compressed_size
                length = min(SAMPLE_BYTES, size)
                total.update(file.read(start, length) + file.read(start + size - length, length))
    return total.hexdigest()
