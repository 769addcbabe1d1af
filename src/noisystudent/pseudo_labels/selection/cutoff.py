"""The exact last selected row of every class, found by histograms with finer and finer bins, without sorting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisystudent.pseudo_labels.selection.counts import BINS
from noisystudent.pseudo_labels.selection.parts import NO_LIMIT, ONE_BITS, Bits, Ints, Rows, read_rows

_FINE_BINS = 4096  # per finer histogram
_ABOVE_ALL = np.uint32(2**32 - 1)


@dataclass(frozen=True, eq=False)
class Cutoff:
    """Every class keeps all rows above the confidence at ``bits`` and the first ``ties`` rows exactly at it.

    Of these, it keeps the rows below the confidence with the bits ``limit``.
    """

    bits: Bits  # [K], of a float32
    ties: Ints  # [K]
    limit: int


class RowNumbers:
    """Numbers the rows of every class from 0, continuing from part to part."""

    def __init__(self, classes: int) -> None:
        self._next = np.zeros(classes, np.int64)

    def __call__(self, labels: Ints) -> Ints:
        """The number of each of the next rows within its class, int64 [N]."""
        counts = np.bincount(labels, minlength=len(self._next))
        first = counts.cumsum() - counts
        order = np.argsort(labels.astype(np.uint16), kind="stable")
        numbers = np.empty(len(labels), np.int64)
        in_order = labels[order]
        numbers[order] = np.arange(len(labels)) - first[in_order] + self._next[in_order]
        self._next += counts
        return numbers


def is_selected(rows: Rows, cutoff: Cutoff, tie_numbers: RowNumbers) -> npt.NDArray[np.bool_]:
    """Which rows of a part lie before the cutoff, bool [N].

    Parts must come in order, because ``tie_numbers`` continues from part to part.
    """
    bits = cutoff.bits[rows.prediction]
    within = (rows.bits < cutoff.limit) & ~rows.foreign
    selected: npt.NDArray[np.bool_] = (rows.bits > bits) & within
    tied = np.flatnonzero((rows.bits == bits) & within)
    label = rows.prediction[tied]
    selected[tied] = tie_numbers(label) < cutoff.ties[label]
    return selected


def find_cutoff(
    parts: Sequence[Path], histogram: Ints, row_count: Ints, *, limit: int = NO_LIMIT, least_typical: float = 0.0
) -> Cutoff:
    """Finds the cutoff after the most confident rows of each class.

    Each pass over the parts counts, per class, the rows in the one bin of the last histogram that contains the cutoff,
    and splits this bin into 4,096. A bin that holds a single float32 needs no further pass. So confidences from 0.5
    take one pass, those from 1 / 4,096 two, and smaller ones three.

    Args:
        parts: paths of all prediction parts, in order.
        histogram: the histogram of the candidates in ``Counts`` for these parts, int64 [K, BINS + 1].
        row_count: the number of rows to select per class, at most as many as there are, int64 [K].
        limit: the bits of the confidence that candidates are below.
        least_typical: rows with a typicality below it are not in the histogram.

    Returns:
        The cutoff of every class.
    """
    edges = np.append(np.arange(BINS + 1, dtype=np.float32) / BINS, np.float32(0)).view(np.uint32).astype(np.int64)
    edges[-1] = ONE_BITS + 1
    bins, wanted, inside = _bin_of_cutoff(histogram, row_count)
    low, width = edges[bins], edges[bins + 1] - edges[bins]
    while len(open_classes := np.flatnonzero((width > 1) & (wanted > 0) & (wanted < inside))):
        shift = _shift(width[open_classes])
        rows = read_rows(parts, len(low), least_typical)
        finer = _count_fine_bins(rows, low, np.minimum(width, limit - low), open_classes, shift)
        bins, wanted[open_classes], inside[open_classes] = _bin_of_cutoff(finer, wanted[open_classes])
        low[open_classes] += bins << shift
        width[open_classes] = np.minimum(1 << shift, width[open_classes] - (bins << shift))
    # If all rows of a bin are wanted, the cutoff is its lowest number, and `wanted` covers all rows tied at it.
    return Cutoff(np.where(row_count > 0, low, _ABOVE_ALL).astype(np.uint32), wanted, limit)


def _bin_of_cutoff(histogram: Ints, row_count: Ints) -> tuple[Ints, Ints, Ints]:
    """Per class: the bin that contains row number ``row_count`` from the top, its wanted rows, and all its rows."""
    classes = np.arange(len(histogram))
    from_top = histogram[:, ::-1].cumsum(axis=1)  # rows in this bin or above, the highest bin first
    bins_above = (from_top < np.maximum(row_count, 1)[:, None]).sum(axis=1)
    bins = np.maximum(histogram.shape[1] - 1 - bins_above, 0)  # a class without rows gets the lowest bin
    inside = histogram[classes, bins]
    above = from_top[classes, histogram.shape[1] - 1 - bins] - inside
    return bins, np.maximum(row_count - above, 0), inside


def _shift(width: Ints) -> Ints:
    """The number of bits by which to shift numbers below ``width`` to bring them below the number of fine bins."""
    bits = np.ceil(np.log2(width)).astype(np.int64)
    return np.maximum(bits - int(np.log2(_FINE_BINS)), 0)


def _count_fine_bins(parts: Iterable[Rows], low: Ints, width: Ints, open_classes: Ints, shift: Ints) -> Ints:
    """Rows of the open classes per fine bin between ``low`` and ``low + width``: int64 [open classes, fine bins]."""
    counts = np.zeros((len(open_classes), _FINE_BINS), np.int64)
    row_of_class = np.full(len(low), -1)
    row_of_class[open_classes] = np.arange(len(open_classes))
    counted_width = np.zeros_like(width)
    counted_width[open_classes] = width[open_classes]
    for rows in parts:
        offset = rows.bits - low[rows.prediction]
        inside = np.flatnonzero((offset >= 0) & (offset < counted_width[rows.prediction]) & ~rows.foreign)
        row = row_of_class[rows.prediction[inside]]
        np.add.at(counts.reshape(-1), row * _FINE_BINS + (offset[inside] >> shift[row]), 1)
    return counts
