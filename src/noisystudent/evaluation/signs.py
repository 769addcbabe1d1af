"""What can be said of pseudo labels without knowing the truth: agreement, drift of classes, confidence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def label_free_signs(
    predictions: Ints, confidence: npt.NDArray[np.floating], before: Ints | None, classes: int
) -> dict[str, float | None]:
    """Signs of one teacher's labels [N], against those of the teacher before it (None for the first).

    ``agreement``: fraction labeled alike; ``class_drift``: total variation distance between the two class
    frequencies, 0 = same, 1 = disjoint; ``mean_confidence``; ``class_balance``: entropy of the class frequencies over
    its largest value, 1 = even.
    """
    share = np.bincount(predictions, minlength=classes) / len(predictions)
    positive = share[share > 0]
    signs: dict[str, float | None] = {
        "agreement": None,
        "class_drift": None,
        "mean_confidence": float(confidence.mean()),
        "class_balance": float(-(positive * np.log(positive)).sum() / np.log(classes)),
    }
    if before is not None:
        share_before = np.bincount(before, minlength=classes) / len(before)
        signs["agreement"] = float((predictions == before).mean())
        signs["class_drift"] = float(0.5 * np.abs(share - share_before).sum())
    return signs
