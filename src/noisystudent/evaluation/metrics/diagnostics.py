"""What can be said of pseudo labels without knowing the truth: agreement, drift of classes, confidence."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Part = tuple[Ints, npt.NDArray[np.floating], Ints | None]


def label_free_diagnostics(parts: Iterable[Part], classes: int) -> dict[str, float | None]:
    """Signs of one teacher's labels, against those of the teacher before it.

    ``parts`` are taken one at a time: labels [N], their confidences [N], and the labels of the teacher before for the
    same images [N], or None for the first teacher, in all parts or in none.

    ``agreement``: fraction labeled alike; ``class_drift``: total variation distance between the two class
    frequencies, 0 = same, 1 = disjoint; ``mean_confidence``; ``class_balance``: entropy of the class frequencies over
    its largest value, 1 = even.
    """
    counts, counts_before = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    confidence, alike = 0.0, 0
    for labels, confidences, before in parts:
        counts += np.bincount(labels, minlength=classes)
        confidence += float(confidences.sum(dtype=np.float64))
        if before is not None:
            counts_before += np.bincount(before, minlength=classes)
            alike += int((labels == before).sum())
    total, compared = int(counts.sum()), int(counts_before.sum())
    share = counts / total
    positive = share[share > 0]
    return {
        "agreement": alike / total if compared else None,
        "class_drift": float(0.5 * np.abs(share - counts_before / compared).sum()) if compared else None,
        "mean_confidence": confidence / total,
        "class_balance": float(-(positive * np.log(positive)).sum() / np.log(classes)),
    }
