"""Tables of predictions: a row for every image in a source, as CSV, JSON lines or Parquet.

The columns are the same in all three: file, class, confidence and problem; then, if asked for, the next classes with
their confidences, and the probability of every class.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from noisystudent.data.source import printable
from noisystudent.errors import SettingsError

Value = str | float | None
Row = Sequence[Value]
Write = Callable[[Sequence[Row]], None]

COLUMNS = ("file", "class", "confidence", "problem")
_OWN = b"noisystudent.table"  # in the metadata of a Parquet table
_DIGITS = 6  # decimals of probabilities as text


def columns_of(classes: Sequence[str], *, top: int, probabilities: bool) -> tuple[str, ...]:
    """The columns of a table with the ``top`` most probable classes, and with the probabilities of all or without."""
    further = [f"{name}_{rank}" for rank in range(2, top + 1) for name in ("class", "confidence")]
    return (*COLUMNS, *further, *(f"probability_{printable(name)}" for name in classes if probabilities))


def table_ending(path: Path) -> str:
    """The ending of a table, which says its kind; raises ``SettingsError`` for another one."""
    ending = path.suffix.lower()
    if ending not in _WRITERS:
        raise SettingsError(
            f"--out {str(path)!r} must end in {', '.join(_WRITERS)}, which says what is written: a CSV table, one JSON "
            "object per line, or a Parquet table."
        )
    return ending


def is_prediction_table(path: Path) -> bool:
    """Whether a file is a table of predictions that this program wrote."""
    with path.open("rb") as file:
        start = file.read(1000)
    if start.startswith(b"PAR1"):
        return _is_own_parquet(path)
    return start.startswith((",".join(COLUMNS[:3]).encode(), b'{"file": "'))


@contextmanager
def open_table(path: Path, ending: str, columns: Sequence[str]) -> Iterator[Write]:
    """Opens a table to be written and yields what writes rows; ``ending`` says its kind, as ``table_ending`` does."""
    with _WRITERS[ending](path, columns) as write:
        yield write


@contextmanager
def _csv(path: Path, columns: Sequence[str]) -> Iterator[Write]:
    with _open_text(path) as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        kinds = [_csv_text(name) for name in columns]
        yield lambda rows: writer.writerows(
            [text(value) for text, value in zip(kinds, row, strict=True)] for row in rows
        )


def _csv_text(column: str) -> Callable[[Value], str]:
    decimals = 4 if column.startswith("confidence") else _DIGITS
    return lambda value: f"{value:.{decimals}f}" if isinstance(value, float) else value or ""


@contextmanager
def _json_lines(path: Path, columns: Sequence[str]) -> Iterator[Write]:
    with _open_text(path) as file:

        def write(rows: Sequence[Row]) -> None:
            for row in rows:
                values = [round(value, _DIGITS) if isinstance(value, float) else value for value in row]
                content = dict(zip(columns, values, strict=True))
                file.write(json.dumps(content, ensure_ascii=False) + "\n")

        yield write


@contextmanager
def _parquet(path: Path, columns: Sequence[str]) -> Iterator[Write]:
    numbers = ("confidence", "probability_")
    fields = [(name, pa.float32() if name.startswith(numbers) else pa.string()) for name in columns]
    schema = pa.schema(fields, metadata={_OWN: b"1"})
    with pq.ParquetWriter(path, schema) as writer:

        def write(rows: Sequence[Row]) -> None:
            if rows:
                values = zip(*rows, strict=True)
                arrays = [pa.array(column, kind) for column, (_, kind) in zip(values, fields, strict=True)]
                writer.write_table(pa.table(arrays, schema=schema))

        yield write


_WRITERS = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}


def _open_text(path: Path) -> TextIO:
    return path.open("w", newline="", encoding="utf-8", errors="backslashreplace")


def _is_own_parquet(path: Path) -> bool:
    try:
        return _OWN in (pq.read_schema(path).metadata or {})
    except (pa.ArrowInvalid, OSError):
        return False
