"""Reads the parts of predictions and reads and writes those of a selection, with threads a few parts ahead."""

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
from noisystudent.artifacts.tables import damage_as_error
from noisystudent.errors import ArtifactError, MismatchError

SELECTION = "selection"  # manifest kind

SELECTED = "selected"
BELOW_THRESHOLD = "below-threshold"
OVER_TARGET = "over-target"
NOT_YET = "not-yet"
CUSTOM = "custom-rule"  # rejected by a user's own rule
NOT_BELOW = "not-below"  # too confident for selection.below
FOREIGN = "foreign"  # farther from the labeled images than these are from each other
REASONS = (SELECTED, BELOW_THRESHOLD, OVER_TARGET, NOT_YET, CUSTOM, NOT_BELOW, FOREIGN)

ONE_BITS = np.float32(1).view(np.uint32)
NO_LIMIT = int(ONE_BITS) + 1  # the bits of a number above every confidence
_INFINITY_BITS = np.float32(np.inf).view(np.uint32)
_READERS = 2  # more would block each other: reading a small part is half Python
_WRITERS = 8  # most of them wait for the disk

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint32]
Codes = npt.NDArray[np.int8]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Rows:
    """The columns of one predictions part that selection needs: predicted classes [N] and confidences [N].

    ``bits`` are the bits of the confidences as float32. Read as integers, they are ordered like the confidences,
    because these are from 0 to 1. ``groups`` are the sizes of the part's row groups. ``foreign``, bool [N], says which
    rows count for no class.
    """

    name: str
    groups: tuple[int, ...]
    prediction: Ints
    bits: Bits
    foreign: npt.NDArray[np.bool_]

    @property
    def confidence(self) -> Floats:
        """The confidences themselves: float32 [N]."""
        return self.bits.view(np.float32)


@dataclass(frozen=True)
class PartSelection:
    """The selection of one part: copies [N], reasons [N] (indices in ``REASONS``), and the sizes of the row groups."""

    name: str
    groups: tuple[int, ...]
    copies: Ints
    reason: Codes


def read_rows(parts: Sequence[Path], classes: int, least_typical: float = 0.0) -> Iterator[Rows]:
    """Reads the rows of each predictions part, in order; those with a typicality below ``least_typical`` are foreign.

    Raises:
        ArtifactError: a part is damaged, or its classes are not below ``classes``.
    """
    return _prefetch(partial(_read_part, classes=classes, least_typical=least_typical), parts, _READERS)


def _read_part(path: Path, classes: int, least_typical: float) -> Rows:
    more = ["typicality"] if least_typical > 0 else []
    table, groups = _read_columns(path, ["prediction", "confidence", *more])
    prediction = table["prediction"].to_numpy().astype(np.int64)
    bits = table["confidence"].to_numpy().astype(np.float32).view(np.uint32)
    if len(prediction) and not 0 <= prediction.min() <= prediction.max() < classes:
        raise ArtifactError(
            f"{path} predicts class number {prediction.max()}, but there are {classes} classes; run 'noisystudent "
            "label' again."
        )
    if len(bits) and bits.max() >= _INFINITY_BITS:  # also true for negative numbers, whose highest bit is set
        raise ArtifactError(
            f"{path} holds a confidence that is not a number from 0 to 1; run 'noisystudent label' again."
        )
    foreign = table["typicality"].to_numpy() < least_typical if more else np.zeros(len(bits), bool)
    # A mean of probabilities may be rounded to a little above 1.
    return Rows(path.name, groups, prediction, np.minimum(bits, ONE_BITS), foreign)


def _read_columns(path: Path, columns: list[str]) -> tuple[pa.Table, tuple[int, ...]]:
    """The columns of a part, and the sizes of its row groups."""
    with damage_as_error(path), pq.ParquetFile(path) as file:
        missing = sorted(set(columns) - set(file.schema_arrow.names))
        if missing:
            raise ArtifactError(f"{path} has no column {missing[0]!r}; run the command that makes it again.")
        groups = range(file.metadata.num_row_groups)
        sizes = tuple(file.metadata.row_group(group).num_rows for group in groups)
        return file.read(columns=columns, use_threads=False), sizes


def read_selection(folder: Path, names: Iterable[str]) -> Iterator[tuple[Ints, Codes]]:
    """The copies and reasons (indices in ``REASONS``) of the named parts of a selection, in order."""
    return _prefetch(_read_part_selection, (folder / name for name in names), _READERS)


def _read_part_selection(path: Path) -> tuple[Ints, Codes]:
    if not path.is_file():
        raise MismatchError(
            f"{path} does not exist: the earlier selection was made from other predictions; make it again."
        )
    table, _ = _read_columns(path, ["copies", "reason"])
    reason = pc.index_in(table["reason"].cast(pa.string()), value_set=pa.array(REASONS))
    return table["copies"].to_numpy().astype(np.int64), reason.to_numpy().astype(np.int8)


def write_selection(folder: Path, parts: Iterable[PartSelection]) -> None:
    """Writes the parts of a selection, with the row groups of the predictions."""
    for _ in _prefetch(partial(_write_part_selection, folder), parts, _WRITERS):
        pass


def _write_part_selection(folder: Path, part: PartSelection) -> None:
    # A part without the later reasons has the bytes that it had before there were these.
    reasons = REASONS[: max(REASONS.index(NOT_BELOW), int(part.reason.max(initial=0)) + 1)]
    columns = {
        "copies": pa.array(part.copies.astype(np.uint16)),
        "reason": pa.DictionaryArray.from_arrays(pa.array(part.reason), pa.array(reasons)),
    }
    table = pa.table(columns)
    first = 0
    # A row takes two or three bits of a dictionary, which are not worth the time to compress. Files are small, so one
    # call writes each of them to the disk.
    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(buffer, table.schema, compression="none", write_statistics=False) as writer:
        for count in filter(None, part.groups):
            writer.write_table(table.slice(first, count))
            first += count
    with atomic_write(folder / part.name) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _prefetch(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """The results of ``function`` in the order of ``items``, computed by threads a few items ahead."""
    waiting: deque[Future[Result]] = deque()
    remaining = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        for item in itertools.islice(remaining, 2 * threads):
            waiting.append(pool.submit(function, item))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in itertools.islice(remaining, 1))
