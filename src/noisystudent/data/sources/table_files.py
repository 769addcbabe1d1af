"""Reads tables of paths and labels: CSV as spreadsheets and pandas save it, and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import ArrowException, BufferReader

from noisystudent.data.files import File
from noisystudent.data.sources.columns import LABEL_NAMES, class_label_names
from noisystudent.errors import DataError

# Names of columns, the preferred first; capital letters and blanks do not matter.
PATH_NAMES = ("path", "filename", "file_name", "file", "image", "image_path")

_ROWS_PER_BYTE = 8  # more rows than this do not fit into a file, whatever its compression makes of them
_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class TableRows:
    """The paths of a table and, if it has a column for them, the labels.

    ``empty`` names the rows without a path. ``classes`` are the names of the labels' numbers, if the table has them.
    """

    paths: list[str]
    labels: list[object] | None
    empty: list[str]
    classes: tuple[str, ...] | None


def read_table(file: File) -> TableRows:
    """The rows of a ``.csv``, ``.tsv`` or ``.parquet`` file; ``DataError``, naming the file, if it is no such table."""
    is_parquet = file.base.lower().endswith(".parquet")
    columns, class_names = _read_parquet(file) if is_parquet else (_read_csv(file), {})
    first_row = 0 if is_parquet else 2  # as other programs number them
    paths, labels = _find(columns, PATH_NAMES), _find(columns, LABEL_NAMES)
    if paths is None:
        raise DataError(
            f"{file.name!r} has the columns {', '.join(map(repr, columns)) or 'none'}, and 'path' is needed. Give the "
            f"column of paths this name, or one of {', '.join(PATH_NAMES[1:])}."
        )
    texts = ["" if path is None else str(path).strip() for path in columns[paths]]
    kept = [row for row, text in enumerate(texts) if text]
    return TableRows(
        [texts[row] for row in kept],
        None if labels is None else [columns[labels][row] for row in kept],
        [f"row {first_row + row}" for row, text in enumerate(texts) if not text],
        None if labels is None else class_names.get(labels),
    )


def _find(columns: Iterable[str], names: Sequence[str]) -> str | None:
    """The column with the first of ``names`` that is there."""
    by_name = {column.strip().casefold(): column for column in reversed(list(columns))}
    return next((by_name[name] for name in names if name in by_name), None)


def _read_csv(file: File) -> dict[str, Sequence[object]]:
    try:
        text = _decoded(file.read())
        header = next((line for line in text.splitlines() if line.strip()), "")
        # The first delimiter that separates a column of paths; without any, the first that separates columns at all.
        delimiter = min(_DELIMITERS, key=lambda each: (not _names_paths(header, each), -header.count(each)))
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True))
    except (ValueError, csv.Error) as error:
        raise DataError(
            f"{file.name!r} cannot be read as CSV ({error}). Write UTF-8 with the column names in the first line."
        ) from error
    rows = [[field.strip() for field in row] for row in rows if row]
    names = _without_empty_end(rows[0]) if rows else []
    if not names:
        return {"path": []}
    needed = {_find(dict.fromkeys(names), group) for group in (PATH_NAMES, LABEL_NAMES)}
    filled = 1 + max(number for number, name in enumerate(names) if name in needed or number == 0)
    body = [_without_empty_end(row) for row in rows[1:]]
    for number, (row, whole) in enumerate(zip(body, rows[1:], strict=True), start=2):
        if len(row) > len(names) or (row and len(whole) < filled):
            raise DataError(
                f"Row {number} of {file.name!r} has more or fewer fields than the first line. Quote fields with "
                f"{delimiter!r} in them."
            )
    first = {name: number for number, name in reversed(list(enumerate(names)))}  # of columns with the same name
    return {
        name: [row[number] if number < len(row) else "" for row in body]
        for number, name in enumerate(names)
        if first[name] == number
    }


def _decoded(content: bytes) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte-order mark, which Excel calls Unicode text."""
    is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    return content.decode("utf-16" if is_utf16 else "utf-8-sig")


def _names_paths(header: str, delimiter: str) -> bool:
    """Whether a column of paths is among the names in the first line, if ``delimiter`` separates them."""
    names = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])
    return _find(dict.fromkeys(names), PATH_NAMES) is not None


def _without_empty_end(row: list[str]) -> list[str]:
    """A row without the empty fields at its end, which spreadsheets add."""
    length = len(row)
    while length and not row[length - 1]:
        length -= 1
    return row[:length]


def _read_parquet(file: File) -> tuple[dict[str, Sequence[object]], dict[str, tuple[str, ...]]]:
    """The columns of paths and labels, and the class names by column."""
    try:
        parquet = pq.ParquetFile(BufferReader(file.read()))
        check_rows(file, parquet.metadata)
        names = parquet.schema_arrow.names
        wanted = [name for name in names if name.strip().casefold() in (*PATH_NAMES, *LABEL_NAMES)]
        table = parquet.read(columns=wanted)
    except (ArrowException, OSError) as error:
        raise DataError(
            f"{file.name!r} cannot be read as Parquet ({error}). It may be cut short: copy or make it again."
        ) from error
    columns = {name: _paths_of(table[name]).to_pylist() for name in wanted if name in table.column_names}
    return columns or dict.fromkeys(names, ()), class_label_names(parquet.schema_arrow)


def check_rows(file: File, footer: pq.FileMetaData) -> None:
    """Raises ``DataError`` if a Parquet file declares more rows than can be in it; a few bytes may declare billions."""
    if footer.num_rows > _ROWS_PER_BYTE * file.size:
        raise DataError(
            f"{file.name!r} declares {footer.num_rows:,} rows in {file.size:,} bytes. It is damaged: make it again."
        )


def _paths_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column, or the field ``path`` of a column of structs, as Hugging Face's data sets have it."""
    if not pa.types.is_struct(column.type):
        return column
    return pa.chunked_array([chunk.field("path") for chunk in column.chunks], pa.string())


def is_path_column(field: pa.Field) -> bool:
    """Whether a field of a Parquet schema holds paths: text, or a struct with a field ``path``, by a usual name."""
    if field.name.strip().casefold() not in PATH_NAMES:
        return False
    kind = field.type
    if pa.types.is_struct(kind):
        return any(part.name == "path" and pa.types.is_string(part.type) for part in kind)
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
