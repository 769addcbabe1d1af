"""Diagnostics of pseudo labels that need no true labels: agreement, class drift, confidence, class balance."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Part = tuple[Ints, npt.NDArray[np.floating], Ints | None]


def label_free_diagnostics(parts: Iterable[Part], classes: int) -> dict[str, float | None]:
    """Compares a teacher's pseudo labels with those of the previous teacher, without true labels.

    Args:
        parts: pseudo labels [N], their confidences [N] and the previous teacher's pseudo labels for the same images
            [N], part by part; the last is None in all parts for the first teacher.
        classes: number of classes.

    Returns:
        ``agreement``, the fraction of images with the same label; ``class_drift``, the total variation distance
        between the class frequencies, 0 = equal, 1 = disjoint (both None for the first teacher); ``mean_confidence``;
        ``class_balance``, the entropy of the class frequencies divided by its maximum, 1 = balanced.
    """
    counts, previous_counts = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    confidence, agreeing = 0.0, 0
    for labels, confidences, previous_labels in parts:
        counts += np.bincount(labels, minlength=classes)
        confidence += float(confidences.sum(dtype=np.float64))
        if previous_labels is not None:
            previous_counts += np.bincount(previous_labels, minlength=classes)
            agreeing += int((labels == previous_labels).sum())
    total, compared = int(counts.sum()), int(previous_counts.sum())
    frequencies = counts / total
    positive = frequencies[frequencies > 0]
    return {
        "agreement": agreeing / total if compared else None,
        "class_drift": float(0.5 * np.abs(frequencies - previous_counts / compared).sum()) if compared else None,
        "mean_confidence": confidence / total,
        "class_balance": float(-(positive * np.log(positive)).sum() / np.log(classes)),
    }
