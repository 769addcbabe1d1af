"""Two ways of training compared over several seeds, on the same images: the difference and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student_t

from noisystudent.evaluation.verdict import PRIOR_DEGREES, PRIOR_LUCK

Floats = npt.NDArray[np.float64]


def compare_trainings(
    differences: Sequence[Floats], *, same_images: bool, luck: bool = True
) -> tuple[float, tuple[float, float]]:
    """The mean difference in accuracy between two ways of training, and its 95% interval.

    As in ``compare_with_controls``, the variance is that of the sampling of images plus that of the luck of training.
    With n seeds the second is l / n, where l is the variance of the difference of two trainings: that which the seeds
    show beyond the sampling of images, averaged with a prior of twice ``PRIOR_LUCK`` squared, which weighs as much as
    ``PRIOR_DEGREES`` more seeds. The interval is that of Student's distribution with the degrees of freedom of
    Satterthwaite.

    Args:
        differences: For each seed, the correctness (0 or 1) of the first minus that of the second on each test image,
            float [N].
        same_images: Whether all seeds have the same test images in the same order.
        luck: Whether another training with the same settings would give another model.
    """
    seeds = len(differences)
    means = np.array([values.mean() for values in differences])
    difference = float(means.mean())
    pooled = np.mean(np.stack(differences), axis=0) if same_images else np.concatenate(differences)
    count = len(pooled)
    images = (float(((pooled - pooled.mean()) ** 2).sum()) + 1 / seeds) / count**2
    trainings, degrees = _luck_of_difference(differences, means, same_images=same_images) if luck else (0.0, 1.0)
    total = images + trainings / seeds
    freedom = total**2 / (images**2 / max(1, count - 1) + (trainings / seeds) ** 2 / degrees)
    half = float(student_t.ppf(0.975, freedom)) * sqrt(total)
    return difference, (max(-1.0, difference - half), min(1.0, difference + half))


def _luck_of_difference(differences: Sequence[Floats], means: Floats, *, same_images: bool) -> tuple[float, float]:
    """The variance of the difference of two trainings over seeds, and its degrees of freedom."""
    prior = 2 * PRIOR_LUCK**2
    seeds = len(differences)
    if seeds == 1:
        return prior, PRIOR_DEGREES
    scatter = float(means.var(ddof=1))
    if same_images:
        pairs = [(first - second).var() / len(first) for first, second in combinations(differences, 2)]
        sampling = float(np.mean(pairs)) / 2
    else:
        sampling = float(np.mean([values.var() / len(values) for values in differences]))
    weight = (seeds - 1) * (prior / (prior + sampling)) ** 2
    degrees = PRIOR_DEGREES + weight
    return max(0.0, (PRIOR_DEGREES * prior + weight * (scatter - sampling)) / degrees), degrees
