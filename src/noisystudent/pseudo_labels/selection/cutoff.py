"""The last place of every class, exactly: by histograms of ever finer steps, never by a list of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisystudent.pseudo_labels.selection.counts import BINS
from noisystudent.pseudo_labels.selection.parts import ONE, Bits, Ints, Rows, read_rows

_STEPS = 4096  # of each finer histogram
_NEVER = np.uint32(2**32 - 1)


@dataclass(frozen=True, eq=False)
class Cutoff:
    """A class keeps all rows above the confidence ``last`` and, of those that have it, the first ``ties``."""

    last: Bits  # [K], the bits of a float32
    ties: Ints  # [K]


class Numbering:
    """Numbers the rows of every class from 0, on and on through the parts."""

    def __init__(self, classes: int) -> None:
        self.seen = np.zeros(classes, np.int64)

    def __call__(self, labels: Ints) -> Ints:
        """The number of each of these rows, in order, within its class: int64 [N]."""
        counts = np.bincount(labels, minlength=len(self.seen))
        first = counts.cumsum() - counts
        order = np.argsort(labels.astype(np.uint16), kind="stable")
        numbers = np.empty(len(labels), np.int64)
        in_order = labels[order]
        numbers[order] = np.arange(len(labels)) - first[in_order] + self.seen[in_order]
        self.seen += counts
        return numbers


def kept_rows(rows: Rows, cutoff: Cutoff, numbering: Numbering) -> npt.NDArray[np.bool_]:
    """Which rows lie before the cut: bool [N]; parts must come in order, as ``numbering`` goes on through them."""
    last = cutoff.last[rows.prediction]
    kept: npt.NDArray[np.bool_] = rows.bits > last
    tied = np.flatnonzero(rows.bits == last)
    label = rows.prediction[tied]
    kept[tied] = numbering(label) < cutoff.ties[label]
    return kept


def find_cut(parts: Sequence[Path], histogram: Ints, take: Ints) -> Cutoff:
    """The cut after the ``take`` [K] most confident rows of each class, at most as many as it has.

    Each pass over the parts counts, per class, the rows in the one step of the last histogram in which the cut falls,
    and splits it into 4,096; a step of one float32 needs no more. That is one pass for confidences from 0.5, two
    from 1 / 4,096, three below. ``histogram`` is that of ``Counts``.
    """
    edges = np.append(np.arange(BINS + 1, dtype=np.float32) / BINS, np.float32(0)).view(np.uint32).astype(np.int64)
    edges[-1] = ONE + 1
    step, wanted, inside = _step_of_cut(histogram, take)
    low, width = edges[step], edges[step + 1] - edges[step]
    while len(open_classes := np.flatnonzero((width > 1) & (wanted > 0) & (wanted < inside))):
        shift = _shift(width[open_classes])
        finer = _count_steps(parts, low, width, open_classes, shift)
        step, wanted[open_classes], inside[open_classes] = _step_of_cut(finer, wanted[open_classes])
        low[open_classes] += step << shift
        width[open_classes] = np.minimum(1 << shift, width[open_classes] - (step << shift))
    # Where all rows of a step are wanted, those above its lowest number are kept, and as many at it as there are.
    return Cutoff(np.where(take > 0, low, _NEVER).astype(np.uint32), wanted)


def _step_of_cut(histogram: Ints, take: Ints) -> tuple[Ints, Ints, Ints]:
    """Per class: the step in which row number ``take`` from the top falls, the rows wanted of it, its rows."""
    classes = np.arange(len(histogram))
    from_top = histogram[:, ::-1].cumsum(axis=1)  # rows in this step or above, the highest step first
    place = (from_top < np.maximum(take, 1)[:, None]).sum(axis=1)
    step = np.maximum(histogram.shape[1] - 1 - place, 0)  # a class without rows gets the lowest
    inside = histogram[classes, step]
    above = from_top[classes, histogram.shape[1] - 1 - step] - inside
    return step, np.maximum(take - above, 0), inside


def _shift(width: Ints) -> Ints:
    """By how many bits to shift numbers below ``width`` to bring them below the number of steps."""
    bits = np.ceil(np.log2(width)).astype(np.int64)
    return np.maximum(bits - int(np.log2(_STEPS)), 0)


def _count_steps(parts: Sequence[Path], low: Ints, width: Ints, open_classes: Ints, shift: Ints) -> Ints:
    """Rows of the open classes per step between ``low`` and ``low + width``: int64 [open classes, steps]."""
    counts = np.zeros((len(open_classes), _STEPS), np.int64)
    slot = np.full(len(low), -1)
    slot[open_classes] = np.arange(len(open_classes))
    counted_width = np.zeros_like(width)
    counted_width[open_classes] = width[open_classes]
    for rows in read_rows(parts, len(low)):
        offset = rows.bits - low[rows.prediction]
        inside = np.flatnonzero((offset >= 0) & (offset < counted_width[rows.prediction]))
        place = slot[rows.prediction[inside]]
        np.add.at(counts.reshape(-1), place * _STEPS + (offset[inside] >> shift[place]), 1)
    return counts
