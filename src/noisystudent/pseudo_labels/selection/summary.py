"""What a selection took and left, per class and per reason."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from noisystudent.pseudo_labels.selection.counts import BINS
from noisystudent.pseudo_labels.selection.parts import REASONS, Codes, Ints, Rows

_COARSE = 32  # bars of the histogram that the page draws


class SelectionStats:
    """Adds up what a selection took and left, part by part."""

    def __init__(self, classes: int) -> None:
        self.selected = np.zeros(classes, np.int64)
        self.copies = np.zeros(classes, np.int64)
        self.lowest = np.full(classes, np.inf, np.float32)
        self.reasons = np.zeros(len(REASONS), np.int64)

    def add(self, rows: Rows, copies: Ints, reason: Codes) -> None:
        """Adds one part: its rows, their copies [N] and reasons [N], rows of ``REASONS``."""
        kept = np.flatnonzero(copies)
        label = rows.prediction[kept]
        classes = len(self.selected)
        self.selected += np.bincount(label, minlength=classes)
        self.copies += np.bincount(label, weights=copies[kept], minlength=classes).astype(np.int64)
        np.minimum.at(self.lowest, label, rows.confidence[kept])
        self.reasons += np.bincount(reason, minlength=len(REASONS))

    def summary(self, classes: Sequence[str], histogram: Ints, rule: str) -> dict[str, object]:
        """What summary.json holds; ``histogram`` is that of ``Counts``."""
        predicted = histogram.sum(axis=1)
        per_class = [
            {
                "class": name,
                "predicted": int(predicted[i]),
                "selected": int(self.selected[i]),
                "copies": int(self.copies[i]),
                "threshold": round(float(self.lowest[i]), 6) if self.selected[i] else None,
            }
            for i, name in enumerate(classes)
        ]
        coarse = histogram[:, :BINS].sum(axis=0).reshape(_COARSE, -1).sum(axis=1)
        coarse[-1] += histogram[:, BINS].sum()
        return {
            "rule": rule,
            "rows": int(predicted.sum()),
            "selected": int(self.selected.sum()),
            "copies": int(self.copies.sum()),
            "per_class": per_class,
            "reasons": {name: int(count) for name, count in zip(REASONS, self.reasons, strict=True) if count},
            "confidence_histogram": {"edges": [i / _COARSE for i in range(_COARSE + 1)], "counts": coarse.tolist()},
            "warnings": _warnings(classes, self.selected, self.copies),
        }


def _warnings(classes: Sequence[str], selected: Ints, copies: Ints) -> list[str]:
    """Names the classes that got nothing, or far less than the others even with copies."""
    typical = float(np.median(copies))
    lines = []
    for name, count, places in zip(classes, selected, copies, strict=True):
        if count == 0:
            lines.append(f"class {name!r}: no pseudo label was selected; the student sees only its labeled images")
        elif places < typical / 4:
            lines.append(f"class {name!r}: only {count} pseudo labels ({places} with copies; {typical:.0f} is typical)")
    return lines
