"""Evenly spaced images of a source, as a source."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from noisystudent.data.rows import RowsSource
from noisystudent.data.source import Source


def evenly_spread(rows: int, count: int) -> npt.NDArray[np.int64]:
    """The ascending indices of at most ``count`` of ``rows`` rows, evenly spaced from the first to the last."""
    return np.linspace(0, rows - 1, min(count, rows)).round().astype(np.int64)


class SpreadSource(RowsSource):
    """``count`` evenly spaced records of ``source``; ``note`` is a sentence that its user should read."""

    def __init__(self, source: Source, count: int, note: str = "") -> None:
        chosen = evenly_spread(sum(source.shard_sizes), count)
        starts = np.cumsum([0, *source.shard_sizes])
        rows = [(chosen[(chosen >= start) & (chosen < end)] - start).tolist() for start, end in pairwise(starts)]
        super().__init__(source, rows, fingerprint=f"spread/{count}", notes=[note] if note else [])
