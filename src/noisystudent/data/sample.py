"""Some images of a source, spread evenly over it, as a source of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise

import numpy as np
import numpy.typing as npt

from noisystudent.data.source import Record, Source


def evenly_spread(rows: int, count: int) -> npt.NDArray[np.int64]:
    """The places, ascending, of at most ``count`` of ``rows`` rows, from the first to the last."""
    return np.linspace(0, rows - 1, min(count, rows)).round().astype(np.int64)


class SampleSource:
    """Up to ``count`` (at most 1,024) records of ``source``, evenly spread, in one shard, without labels."""

    classes: tuple[str, ...] | None = None

    def __init__(self, source: Source, count: int) -> None:
        chosen = evenly_spread(sum(source.shard_sizes), count)
        starts = np.cumsum([0, *source.shard_sizes])
        self.name = source.name
        self.fingerprint = f"{source.fingerprint}/{count}"
        self._records = [
            next(islice(source.read(int(shard)), int(row - starts[shard]), None))
            for row, shard in zip(chosen, np.searchsorted(starts, chosen, side="right") - 1, strict=True)
        ]
        self.shard_sizes: tuple[int, ...] = (len(self._records),)
        self.files: Mapping[str, str] = {}

    def read(self, shard: int) -> Iterator[Record]:
        """The records of the one shard, 0."""
        assert shard == 0
        return iter(self._records)

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """Nothing is told of the labels."""
        return None


class SpreadSource:
    """``count`` records of ``source``, evenly spread, with their labels, in as many shards as they come from.

    None is held in memory: a shard of the source is read, and what was not chosen is passed over.
    """

    def __init__(self, source: Source, count: int) -> None:
        chosen = evenly_spread(sum(source.shard_sizes), count)
        starts = np.cumsum([0, *source.shard_sizes])
        places = [set((chosen[(chosen >= low) & (chosen < high)] - low).tolist()) for low, high in pairwise(starts)]
        self._source = source
        self._shards = [(shard, rows) for shard, rows in enumerate(places) if rows]
        self.name = source.name
        self.classes = source.classes
        self.fingerprint = f"{source.fingerprint}/spread/{count}"
        self.shard_sizes: tuple[int, ...] = tuple(len(rows) for _, rows in self._shards)
        self.files: Mapping[str, str] = source.files

    def read(self, shard: int) -> Iterator[Record]:
        """The chosen records of one shard, in the source's order."""
        of_source, rows = self._shards[shard]
        return (record for row, record in enumerate(self._source.read(of_source)) if row in rows)

    def truth(self, classes: Sequence[str]) -> dict[str, str] | None:
        """What the source knows of all of its records."""
        return self._source.truth(classes)
