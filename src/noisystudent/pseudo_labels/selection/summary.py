"""Statistics of a selection: selected rows and copies per class, and rows per reason."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from noisystudent.pseudo_labels.selection.class_shares import Shares
from noisystudent.pseudo_labels.selection.counts import BINS
from noisystudent.pseudo_labels.selection.parts import REASONS, Codes, Ints, Rows
from noisystudent.pseudo_labels.selection.results import ClassSelection, Histogram, SelectionSummary

_COARSE_BINS = 32  # of the histogram that the page draws


class SelectionStats:
    """Running statistics of a selection, updated part by part."""

    def __init__(self, classes: int) -> None:
        self.selected = np.zeros(classes, np.int64)
        self.copies = np.zeros(classes, np.int64)
        self.lowest_confidence = np.full(classes, np.inf, np.float32)
        self.reasons = np.zeros(len(REASONS), np.int64)

    def add(self, rows: Rows, copies: Ints, reason: Codes) -> None:
        """Adds one part: its rows, their copies [N] and their reasons [N] (indices in ``REASONS``)."""
        selected = np.flatnonzero(copies)
        label = rows.prediction[selected]
        classes = len(self.selected)
        self.selected += np.bincount(label, minlength=classes)
        self.copies += np.bincount(label, weights=copies[selected], minlength=classes).astype(np.int64)
        np.minimum.at(self.lowest_confidence, label, rows.confidence[selected])
        self.reasons += np.bincount(reason, minlength=len(REASONS))

    def summary(
        self, classes: Sequence[str], histogram: Ints, rule: str, shares: Shares | None = None
    ) -> SelectionSummary:
        """The content of ``summary.json``.

        Args:
            classes: class names.
            histogram: the histogram of ``Counts`` over all parts, int64 [K, BINS + 1].
            rule: the name of the rule.
            shares: those of the classes that the selection aims at, [K]; None where that is the rule's own aim.
        """
        predicted = histogram.sum(axis=1)
        per_class = tuple(
            ClassSelection(
                name=name,
                predicted=int(predicted[i]),
                selected=int(self.selected[i]),
                copies=int(self.copies[i]),
                threshold=round(float(self.lowest_confidence[i]), 6) if self.selected[i] else None,
                share=None if shares is None else float(shares[i]),
            )
            for i, name in enumerate(classes)
        )
        coarse = histogram[:, :BINS].sum(axis=0).reshape(_COARSE_BINS, -1).sum(axis=1)
        coarse[-1] += histogram[:, BINS].sum()
        edges = tuple(i / _COARSE_BINS for i in range(_COARSE_BINS + 1))
        return SelectionSummary(
            rule=rule,
            rows=int(self.reasons.sum()),
            selected=int(self.selected.sum()),
            copies=int(self.copies.sum()),
            per_class=per_class,
            reasons={name: int(count) for name, count in zip(REASONS, self.reasons, strict=True) if count},
            confidence_histogram=Histogram(edges=edges, counts=tuple(coarse.tolist())),
            warnings=_warnings(classes, self.selected, self.copies, shares),
        )


def _warnings(classes: Sequence[str], selected: Ints, copies: Ints, shares: Shares | None) -> tuple[str, ...]:
    """One warning per class with no pseudo labels, or with far fewer copies than other classes for its share."""
    relative = np.ones(len(classes)) if shares is None else shares * len(shares)
    typical = float(np.median(copies / np.maximum(relative, 1e-9))) * relative
    described = "the median class has" if shares is None else "the median class would have, with this share,"
    warnings = []
    for name, selected_count, copy_count, expected in zip(classes, selected, copies, typical, strict=True):
        if selected_count == 0:
            warnings.append(f"class {name!r}: no pseudo label was selected; the student sees only its labeled images")
        elif copy_count < expected / 4:
            warnings.append(
                f"class {name!r}: only {selected_count} pseudo labels ({copy_count} with copies; {described} "
                f"{expected:.0f})"
            )
    return tuple(warnings)
