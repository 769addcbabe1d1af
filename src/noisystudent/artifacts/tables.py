"""Parquet files of finished work, read so that damage becomes one clear error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from noisystudent.errors import ArtifactError


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads a Parquet file that this program wrote.

    Args:
        path: The file.
        columns: The columns to read; None: all.

    Raises:
        ArtifactError: The file is missing or damaged, or lacks a column.
    """
    with damage_as_error(path), pq.ParquetFile(path) as file:
        missing = [name for name in columns or () if name not in file.schema_arrow.names]
        if missing:
            raise ArtifactError(f"{path} has no column {missing[0]!r}; {_advice(path)}")
        return file.read(columns=None if columns is None else list(columns))


@contextmanager
def damage_as_error(path: Path) -> Iterator[None]:
    """Turns pyarrow's errors about a file into an ``ArtifactError`` that names it and what to do."""
    try:
        yield
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing; run the command that makes it again.") from None
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(f"{path} is damaged ({' '.join(str(error).split())}); {_advice(path)}") from error


def _advice(path: Path) -> str:
    return f"delete {path.name} and run the command that makes it again."
