"""The numbers of a table from trainings of several seeds: means, their intervals, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from scipy.stats import t as student_t

from noisystudent.evaluation.paired_trainings import compare_trainings
from noisystudent.evaluation.verdict import PRIOR_DEGREES, PRIOR_LUCK
from noisystudent.results.article import ArticleCell, Interval

Floats = npt.NDArray[np.float64]


def accuracy_cell(by_seed: Sequence[float], images: int, *, luck: bool) -> ArticleCell:
    """The mean accuracy of trainings of several seeds on ``images`` test images each, and its 95% interval.

    Args:
        by_seed: The accuracies, 0 to 1.
        images: The number of test images of each.
        luck: Whether another seed would give another model. If not, the interval of a single number is Wilson's, over
            images alone.
    """
    mean = float(np.mean(by_seed))
    if len(by_seed) == 1 and not luck:
        return ArticleCell(value=mean, by_seed=tuple(by_seed), interval=_wilson(mean, images))
    return mean_cell(by_seed, mean * (1 - mean) / images, images)


def mean_cell(by_seed: Sequence[float], sampling: float, images: int) -> ArticleCell:
    """The mean of the fractions of several seeds; ``sampling`` is the variance of one of them over its ``images``.

    As in the verdict, the luck of training is that which the seeds show, averaged with a prior of ``PRIOR_LUCK``, which
    weighs as much as ``PRIOR_DEGREES`` more seeds. The interval is that of Student's distribution with the degrees of
    freedom of Satterthwaite.
    """
    mean, seeds = float(np.mean(by_seed)), len(by_seed)
    scatter = float(np.var(by_seed, ddof=1)) if seeds > 1 else 0.0
    degrees = PRIOR_DEGREES + seeds - 1
    luck = (PRIOR_DEGREES * PRIOR_LUCK**2 + (seeds - 1) * scatter) / degrees / seeds
    total = sampling + luck
    freedom = total**2 / (sampling**2 / max(1, images - 1) + luck**2 / degrees)
    half = float(student_t.ppf(0.975, freedom)) * sqrt(total)
    return ArticleCell(value=mean, by_seed=tuple(by_seed), interval=(max(0.0, mean - half), min(1.0, mean + half)))


def _wilson(share: float, count: int) -> Interval:
    z = float(norm.ppf(0.975))
    center = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return (max(0.0, center - half), min(1.0, center + half))


def paired_difference(
    correct: Sequence[Floats], reference: Sequence[Floats], *, same_images: bool, luck: bool
) -> tuple[float, Interval]:
    """The mean over seeds of an accuracy minus that of the reference on the same images, and its 95% interval.

    Args:
        correct: Of each seed, whether each image is right (0 or 1), float64 [N].
        reference: The same of the reference.
        same_images: Whether all seeds have the same images.
        luck: Whether another seed would give another model.
    """
    differences = [mine - other for mine, other in zip(correct, reference, strict=True)]
    return compare_trainings(differences, same_images=same_images, luck=luck)
