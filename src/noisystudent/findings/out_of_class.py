"""Unlabeled images of no class: farther from the labeled images than these are from each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student_t
from sklearn.neighbors import NearestNeighbors

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

FALSE_SHARE = (
    0.3  # of the images that are listed, at most so many are expected to be of a class; a person looks at them
)
NEAREST = 10  # labeled images that an image is compared with
MOST_LABELED = 5000  # of more labeled images, evenly spaced ones are compared with
LEAST = 1e-6  # distance whose logarithm is taken
FEWEST_LABELED = 3  # two distances have no spread


@dataclass(frozen=True)
class OutOfClass:
    """How far images are from the labeled ones, and which are of no class.

    Attributes:
        distances: The mean cosine distance to the nearest labeled images, float32 [N], 0 to 2.
        outside: Which images are of no class, bool [N].
        threshold: The smallest distance of these; None if there are none.
    """

    distances: Floats
    outside: Bools
    threshold: float | None


def find_out_of_class(points: Floats, labeled: Floats) -> OutOfClass:
    """Compares images with labeled ones by the mean distance to the ten nearest, whatever their class.

    Each labeled image, left out in turn, says how far an image of some class is. Two p-values follow: the share of the
    labeled images that are as far (conformal, no smaller than 1 / (L + 1)), and that of a further draw from a
    log-normal distribution (Student's t of the logarithms), which can be small with few labels. An image is of no
    class where either is significant by Benjamini and Hochberg 1995, equation 1.

    Args:
        points: Standardized features of the images, [N, F].
        labeled: Those of the labeled images, [L, F].
    """
    count = min(NEAREST, len(labeled) - 1)
    if len(labeled) < FEWEST_LABELED or not len(points):
        return OutOfClass(np.zeros(len(points), np.float32), np.zeros(len(points), bool), None)
    labeled = labeled[:: -(-len(labeled) // MOST_LABELED)]
    search = NearestNeighbors(n_neighbors=count + 1, metric="cosine").fit(labeled)
    own = np.sort(search.kneighbors(labeled)[0][:, 1:].mean(axis=1))  # the nearest one is the image itself
    distances = search.kneighbors(points, n_neighbors=count)[0].mean(axis=1)
    as_far = (1 + len(own) - np.searchsorted(own, distances, side="left")) / (1 + len(own))
    logarithms, count = np.log(np.maximum(own, LEAST)), len(own)
    deviation = max(float(logarithms.std(ddof=1)) * np.sqrt(1 + 1 / count), LEAST)
    tail = student_t.sf((np.log(np.maximum(distances, LEAST)) - logarithms.mean()) / deviation, count - 1)
    outside = significant(as_far, FALSE_SHARE) | significant(tail, FALSE_SHARE)
    threshold = float(distances[outside].min()) if outside.any() else None
    return OutOfClass(np.asarray(distances, np.float32), outside, threshold)


def significant(p_values: npt.NDArray[np.float64], false_share: float) -> Bools:
    """The rejections of Benjamini and Hochberg's procedure, bool [N], at a share of false ones."""
    ordered = np.sort(p_values)
    passing = np.flatnonzero(ordered * len(ordered) <= false_share * np.arange(1, len(ordered) + 1))
    return p_values <= ordered[passing[-1]] if len(passing) else np.zeros(len(p_values), bool)
