"""Parts of predictions in, parts of a selection out, read and written by threads a few parts ahead."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from noisystudent.artifacts.folder import atomic_write
from noisystudent.errors import ArtifactError, MismatchError

SELECTION = "selection"  # the kind in a manifest

SELECTED = "selected"
BELOW_THRESHOLD = "below-threshold"
OVER_TARGET = "over-target"
NOT_YET = "not-yet"
REASONS = (SELECTED, BELOW_THRESHOLD, OVER_TARGET, NOT_YET)

ONE = np.float32(1).view(np.uint32)
_INFINITE = np.float32(np.inf).view(np.uint32)
_READERS = 2  # more get in each other's way: reading a small part is half Python
_WRITERS = 8  # they wait for the disk

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint32]
Codes = npt.NDArray[np.int8]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Rows:
    """What selection needs of one part: predicted classes [N], and confidences [N] as the bits of a float32.

    For numbers from 0 to 1 the bits, read as an integer, are in the same order as the numbers. ``groups`` are the
    numbers of rows that the part's row groups have.
    """

    name: str
    groups: tuple[int, ...]
    prediction: Ints
    bits: Bits

    @property
    def confidence(self) -> Floats:
        """The confidences themselves: float32 [N]."""
        return self.bits.view(np.float32)


@dataclass(frozen=True)
class PartSelection:
    """What a selection says of one part: copies [N], reasons [N] (rows of ``REASONS``), and how they are grouped."""

    name: str
    groups: tuple[int, ...]
    copies: Ints
    reason: Codes


def read_rows(parts: Sequence[Path], classes: int) -> Iterator[Rows]:
    """The rows of each part, in order. Raises ``ArtifactError`` for a part that is damaged or of other classes."""
    return _ahead(partial(_read_part, classes=classes), parts, _READERS)


def _read_part(path: Path, classes: int) -> Rows:
    table, groups = _read_columns(path, ["prediction", "confidence"])
    prediction = table["prediction"].to_numpy().astype(np.int64)
    bits = table["confidence"].to_numpy().astype(np.float32).view(np.uint32)
    if len(prediction) and not 0 <= prediction.min() <= prediction.max() < classes:
        raise ArtifactError(
            f"{path} predicts class number {prediction.max()}, but there are {classes} classes; make it again."
        )
    if len(bits) and bits.max() >= _INFINITE:  # a negative number has the highest bit, and so has no confidence
        raise ArtifactError(f"{path} holds a confidence that is not a number from 0 to 1; make it again.")
    # An average of probabilities may be rounded to a little above 1.
    return Rows(path.name, groups, prediction, np.minimum(bits, ONE))


def _read_columns(path: Path, columns: list[str]) -> tuple[pa.Table, tuple[int, ...]]:
    """The columns of a part, and the numbers of rows of its row groups."""
    try:
        with pq.ParquetFile(path) as file:
            missing = sorted(set(columns) - set(file.schema_arrow.names))
            if missing:
                raise ArtifactError(f"{path} has no column {missing[0]!r}; make it again.")
            groups = range(file.metadata.num_row_groups)
            sizes = tuple(file.metadata.row_group(group).num_rows for group in groups)
            return file.read(columns=columns, use_threads=False), sizes
    except pa.ArrowException as error:
        raise ArtifactError(f"{path} is damaged ({error}); delete it and run the command that makes it.") from error


def read_choices(folder: Path, names: Iterable[str]) -> Iterator[tuple[Ints, Codes]]:
    """Copies and reasons (rows of ``REASONS``) of a selection's parts of these names, in order."""
    return _ahead(_read_choice, (folder / name for name in names), _READERS)


def _read_choice(path: Path) -> tuple[Ints, Codes]:
    if not path.is_file():
        raise MismatchError(f"{path} does not exist: the earlier selection was made from other predictions.")
    table, _ = _read_columns(path, ["copies", "reason"])
    reason = pc.index_in(table["reason"].cast(pa.string()), value_set=pa.array(REASONS))
    return table["copies"].to_numpy().astype(np.int64), reason.to_numpy().astype(np.int8)


def write_choices(folder: Path, choices: Iterable[PartSelection]) -> None:
    """Writes a selection's parts, in row groups like those of the predictions."""
    for _ in _ahead(partial(_write_choice, folder), choices, _WRITERS):
        pass


def _write_choice(folder: Path, choices: PartSelection) -> None:
    columns = {
        "copies": pa.array(choices.copies.astype(np.uint16)),
        "reason": pa.DictionaryArray.from_arrays(pa.array(choices.reason), pa.array(REASONS)),
    }
    table = pa.table(columns)
    first = 0
    # A row is two or three bits of a dictionary: to compress them would take more time than it saves bytes. Files are
    # small, and sent to the disk by one call.
    whole = pa.BufferOutputStream()
    with pq.ParquetWriter(whole, table.schema, compression="none", write_statistics=False) as writer:
        for count in filter(None, choices.groups):
            writer.write_table(table.slice(first, count))
            first += count
    with atomic_write(folder / choices.name) as temporary:
        temporary.write_bytes(whole.getvalue())


def _ahead(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """The function's results in the order of the items, which are taken a few ahead and worked on by threads."""
    waiting: deque[Future[Result]] = deque()
    remaining = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        for item in itertools.islice(remaining, 2 * threads):
            waiting.append(pool.submit(function, item))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in itertools.islice(remaining, 1))
