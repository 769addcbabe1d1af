"""Evenly spaced images of a source, as a source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise

import numpy as np
import numpy.typing as npt

from noisystudent.data.source import Record, Source, passed_over, source_notes


def evenly_spread(rows: int, count: int) -> npt.NDArray[np.int64]:
    """The ascending indices of at most ``count`` of ``rows`` rows, evenly spaced from the first to the last."""
    return np.linspace(0, rows - 1, min(count, rows)).round().astype(np.int64)


class SampleSource:
    """Up to ``count`` (at most 1024) evenly spaced records of ``source``, in one shard, in memory, without labels."""

    classes: tuple[str, ...] | None = None

    def __init__(self, source: Source, count: int) -> None:
        chosen = evenly_spread(sum(source.shard_sizes), count)
        starts = np.cumsum([0, *source.shard_sizes])
        self.name = source.name
        self.fingerprint = f"{source.fingerprint}/{count}"
        self.passed_over, self.notes = passed_over(source), source_notes(source)
        self._records = [
            next(islice(source.read(int(shard)), int(row - starts[shard]), None))
            for row, shard in zip(chosen, np.searchsorted(starts, chosen, side="right") - 1, strict=True)
        ]
        self.shard_sizes: tuple[int, ...] = (len(self._records),)
        self.files: Mapping[str, str] = {}

    def read(self, shard: int) -> Iterator[Record]:
        """The records of the only shard, 0."""
        assert shard == 0
        return iter(self._records)

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """Always None: a sample does not give the true classes."""
        return None


class SpreadSource:
    """``count`` evenly spaced records of ``source``, with their labels, in as many shards as they come from.

    It holds no record in memory: it reads a shard of the source and skips the records that are not in the sample.
    ``note`` is a sentence that its user should read.
    """

    def __init__(self, source: Source, count: int, note: str = "") -> None:
        chosen = evenly_spread(sum(source.shard_sizes), count)
        starts = np.cumsum([0, *source.shard_sizes])
        rows_by_shard = [
            set((chosen[(chosen >= start) & (chosen < end)] - start).tolist()) for start, end in pairwise(starts)
        ]
        self._source = source
        self._shards = [(shard, rows) for shard, rows in enumerate(rows_by_shard) if rows]
        self.name = source.name
        self.classes = source.classes
        self.fingerprint = f"{source.fingerprint}/spread/{count}"
        self.passed_over, self.notes = passed_over(source), (*source_notes(source), *([note] if note else []))
        self.shard_sizes: tuple[int, ...] = tuple(len(rows) for _, rows in self._shards)
        self.files: Mapping[str, str] = source.files

    def read(self, shard: int) -> Iterator[Record]:
        """The chosen records of one shard, in the source's order."""
        source_shard, rows = self._shards[shard]
        if read_rows := getattr(self._source, "read_rows", None):
            return iter(read_rows(source_shard, sorted(rows)))
        return (record for row, record in enumerate(self._source.read(source_shard)) if row in rows)

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """The true classes of all records of the source, not only of the sample."""
        return self._source.truth(classes)
