"""Which unlabeled images are foreign: farther from the labeled images than images of some class are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from noisystudent.errors import SettingsError
from noisystudent.pseudo_labels.predictions import read_typicality

FALSE_SHARE = 0.2  # of the images that count as foreign, at most so many are expected to be none


def foreign_level(parts: Sequence[Path]) -> float:
    """The typicality below which images are foreign, from that of all images; 0 if none is.

    A typicality is a p-value: the share of images of some class that are as far from the labeled ones as the image is.
    Benjamini and Hochberg 1995, equation 1, bounds the share of false alarms among the images that are left out, as in
    Bates et al. 2023, "Testing for outliers with conformal p-values". So almost nothing is left out of an unlabeled set
    without foreign images. There are no more different values than labels, so the memory does not depend on the rows.

    Args:
        parts: paths of all prediction parts.

    Raises:
        SettingsError: the predictions do not say how typical images are.
    """
    counts: Counter[float] = Counter()
    for path in parts:
        typicality = read_typicality(path)
        if typicality is None:
            raise SettingsError(
                f"selection.foreign drop needs to know how far images are from the labeled ones, and {path} does not "
                "say so: predictions of a run with this setting do. Leave it out."
            )
        values, rows = np.unique(typicality, return_counts=True)
        counts.update(dict(zip(values.tolist(), rows.tolist(), strict=True)))
    ascending = np.array(sorted(counts))
    at_most = np.cumsum([counts[value] for value in ascending])
    passing = np.flatnonzero(ascending * at_most[-1:] <= FALSE_SHARE * at_most)
    return float(np.nextafter(np.float32(ascending[passing[-1]]), np.float32(2))) if len(passing) else 0.0
