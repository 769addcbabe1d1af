"""Published rows of a table, from a CSV file with a source beside every row."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

from noisystudent.errors import DataError
from noisystudent.results.article import ArticleCell, ArticleRow, TableKind

ARTICLE = "article"  # the name of the shipped file
_COLUMNS = ("table", "method", "model", "parameters", "extra_data", "train_size", "test_size", "numbers", "source")


def published_rows(kind: TableKind, name: str | Path) -> list[ArticleRow]:
    """The published rows of a kind of table.

    Args:
        kind: The kind.
        name: ``article`` for the rows that come with this package, or a CSV file with the same columns: table, method,
            model, parameters, extra_data, train_size, test_size, numbers (``top-1=0.884;top-5=0.987``) and source.

    Raises:
        DataError: The file is missing, or a row of it is wrong or without a source.
    """
    if name == ARTICLE:
        text = (files("noisystudent.reporting.article") / "published.csv").read_text(encoding="utf-8")
    else:
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{name} cannot be read ({error}); give a CSV file of published rows, or {ARTICLE!r} for those of this "
                "package."
            ) from error
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise DataError(f"{name} has the columns {', '.join(reader.fieldnames or ())}; give {', '.join(_COLUMNS)}.")
    return [_row(number, row, str(name)) for number, row in enumerate(reader, start=2) if row["table"] == kind]


def _row(line: int, row: dict[str, str], name: str) -> ArticleRow:
    try:
        numbers = dict(part.split("=") for part in row["numbers"].split(";"))
        cells = {column.strip(): ArticleCell(value=float(value)) for column, value in numbers.items()}
        parameters, train_size, test_size = (
            int(row[column]) if row[column] else None for column in ("parameters", "train_size", "test_size")
        )
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f"{name}, line {line}: {error}. Give numbers as in top-1=0.884;top-5=0.987, and whole parameters and sizes."
        ) from error
    if not row["source"]:
        raise DataError(f"{name}, line {line}: {row['method']!r} has no source; say where its numbers are from.")
    return ArticleRow(
        method=row["method"],
        model=row["model"],
        parameters=parameters,
        extra_data=row["extra_data"],
        train_size=train_size,
        test_size=test_size,
        published=True,
        source=row["source"],
        cells=cells,
    )
