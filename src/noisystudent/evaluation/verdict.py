"""Did the unlabeled images help? A student against labels-only trainings, on the same held-out labels.

Two fixed models are compared with ``compare``, image by image. Whether a *method* helps is another question: a second
training of the same model is better or worse by luck alone. ``compare_with_controls`` answers it, with an interval that
holds both the sampling of the held-out images and the luck of training (docs/verdict.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator
from scipy.stats import binomtest
from scipy.stats import t as student_t

from noisystudent.random_streams import generator

Bools = npt.NDArray[np.bool_]
Decision = Literal["keep", "no clear gain", "worse"]
_EARLIER = {"cannot tell": "no clear gain", "roll back": "worse"}  # the words of version 0.1.0 in a summary.json

RESAMPLES = 10_000
UNLABELED = "the unlabeled images"

# Labels-only trainings that differ only in their seed: how far their accuracies scatter beyond what the sampling of
# test images explains, measured on four data sets (NOTEBOOK.md, "the luck of training").
PRIOR_LUCK = 0.01  # as a fraction: one point
PRIOR_DEGREES = 4.0  # the prior weighs as much as this many further trainings


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of the accuracy of two classifiers.

    Attributes:
        difference: accuracy of the first minus accuracy of the second classifier, in [-1, 1].
        interval: the 95% interval of the difference.
        p_value: the exact McNemar p-value.
        labels: number of labeled images.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float
    labels: int


@dataclass(frozen=True)
class ControlComparison:
    """A student compared with the mean of several labels-only trainings.

    Attributes:
        difference: accuracy of the student minus the mean accuracy of the labels-only models, in [-1, 1].
        interval: the 95% interval of the difference, over test images and trainings.
        p_value: the two-sided p-value of the same formula: below 0.05 exactly if the interval leaves out 0.
        labels: number of labeled images.
        controls: number of labels-only models.
        luck: the standard deviation of the accuracy between trainings that differ only in their seed, as a fraction; 0
            for a training without luck.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float
    labels: int
    controls: int
    luck: float


@dataclass(frozen=True)
class Verdict:
    """The student against labels-only training on held-out labels; the numbers are None without held-out labels.

    Attributes:
        decision: ``keep`` the student, ``no clear gain``, or the student is ``worse`` than labels-only training.
        reason: the reason for the decision, for the report.
        difference: accuracy of the student minus the mean accuracy of the labels-only models, in [-1, 1].
        interval: the 95% interval of the difference, over test images and trainings.
        p_value: the two-sided p-value of the same formula.
        labels: number of held-out labels; 0 without any, or without a control.
        source: the role of the source of these labels.
        treatment: what the student had and the labels-only models had not.
        controls: number of labels-only models that the student is compared with.
        luck: the standard deviation of the accuracy between trainings that differ only in their seed, as a fraction.
    """

    decision: Annotated[Decision, BeforeValidator(lambda word: _EARLIER.get(word, word))]
    reason: str = ""
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    labels: int = 0
    source: Literal["test", "validation", "none"] = "none"
    treatment: str = UNLABELED
    controls: int = 0
    luck: float | None = None

    @property
    def in_short(self) -> str:
        """The decision, or ``not compared`` where there was no labels-only model, no student or no label to tell."""
        return "not compared" if self.difference is None else self.decision


def compare(first: Bools, second: Bools, *, seed: int = 0) -> Comparison:
    """Compares two classifiers on the same images.

    The p-value is that of McNemar's exact two-sided test (McNemar 1947). It tests whether the images that only one
    classifier gets right split between the two as by fair coin tosses. The interval is the percentile interval of a
    paired bootstrap over images with 10,000 resamples. Each image contributes -1, 0 or 1, so resampling the three
    counts equals resampling images.

    Args:
        first: whether the first classifier is correct on each image, bool [N].
        second: whether the second classifier is correct on each image, bool [N].
        seed: the seed of the bootstrap.

    Returns:
        The difference in accuracy, first minus second, with its interval and p-value.
    """
    wins, losses = int((first & ~second).sum()), int((second & ~first).sum())
    count = len(first)
    p_value = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    fractions = np.array([wins, losses, count - wins - losses]) / count
    resampled = generator(seed, "bootstrap").multinomial(count, fractions, size=RESAMPLES)
    low, high = np.percentile((resampled[:, 0] - resampled[:, 1]) / count, [2.5, 97.5])
    return Comparison((wins - losses) / count, (float(low), float(high)), p_value, count)


def compare_with_controls(student: Bools, controls: Sequence[Bools], *, luck: bool = True) -> ControlComparison:
    """Compares a student with the mean of m labels-only trainings that are equal to its own in all but their images.

    With d_i, the correctness of the student on image i minus the mean correctness of the controls, the difference D is
    the mean of d_i, and its variance is V + L. V = (sum of (d_i - D)^2 + 1) / N^2 is that of the sampling of images,
    with half a win and half a loss added (Agresti and Min 2005). L = tau^2 (1 + 1/m) is that of the luck of m + 1
    trainings, which no number of images makes smaller. The interval is D +- t sqrt(V + L), where t is the quantile of
    Student's distribution with the degrees of freedom of Satterthwaite (1946). docs/verdict.md derives it.

    Args:
        student: whether the student is correct on each image, bool [N], N at least 1.
        controls: the same for each labels-only model, at least one.
        luck: whether another training with the same settings would give another model; False for a training that is
            deterministic, where tau is 0.

    Returns:
        The difference in accuracy, student minus mean of the controls, with its interval and p-value.
    """
    count, models = len(student), len(controls)
    correct = np.stack([control.astype(np.float64) for control in controls])
    differences = student.astype(np.float64) - correct.mean(axis=0)
    difference = float(differences.mean())
    images = (float(((differences - difference) ** 2).sum()) + 1) / count**2
    variance, degrees = luck_of_training(correct) if luck else (0.0, 1.0)
    trainings = variance * (1 + 1 / models)
    total = images + trainings
    freedom = total**2 / (images**2 / max(1, count - 1) + trainings**2 / degrees)
    half = float(student_t.ppf(0.975, freedom)) * sqrt(total)
    return ControlComparison(
        difference=difference,
        interval=(max(-1.0, difference - half), min(1.0, difference + half)),
        p_value=float(2 * student_t.sf(abs(difference) / sqrt(total), freedom)),
        labels=count,
        controls=models,
        luck=sqrt(variance),
    )


def luck_of_training(correct: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The variance of the accuracy between trainings that differ only in their seed, and its degrees of freedom.

    The controls' accuracies scatter with variance S^2 = tau^2 + w, where w is the part that comes from the sampling of
    images: half the mean, over pairs of controls, of the variance of their difference in accuracy. S^2 - w is averaged
    with the prior ``PRIOR_LUCK``, each with the inverse of its own variance: the prior has ``PRIOR_DEGREES`` degrees of
    freedom, and m controls add (m - 1) (tau0^2 / (tau0^2 + w))^2. One control alone leaves the prior.

    Args:
        correct: whether each of m controls is correct on each of N images, 0 or 1, float [m, N].
    """
    models, count = correct.shape
    prior = PRIOR_LUCK**2
    if models == 1:
        return prior, PRIOR_DEGREES
    scatter = float(correct.mean(axis=1).var(ddof=1))
    sampling = float(np.mean([(first - second).var() for first, second in combinations(correct, 2)])) / (2 * count)
    weight = (models - 1) * (prior / (prior + sampling)) ** 2
    degrees = PRIOR_DEGREES + weight
    return max(0.0, (PRIOR_DEGREES * prior + weight * (scatter - sampling)) / degrees), degrees


def reach_verdict(
    comparison: ControlComparison | None, source: Literal["test", "validation", "none"], treatment: str = UNLABELED
) -> Verdict:
    """Decides whether to keep the student, from its comparison with labels-only training.

    Args:
        comparison: the student against the labels-only models; None without held-out labels.
        source: the role of the source of the held-out labels.
        treatment: what the student had and the labels-only models had not, for the reason.

    Returns:
        ``keep`` if the whole interval lies above zero, ``worse`` if it lies below zero, else ``no clear gain``.
    """
    if comparison is None or source == "none":
        reason = "no held-out labels: give --test or --validation, or more labels per class, to get an answer"
        return Verdict("no clear gain", reason, treatment=treatment)
    low, high = comparison.interval
    decision: Decision
    if low > 0:
        decision, reason = "keep", f"{treatment} helped"
    elif high < 0:
        decision, reason = "worse", "labels-only training is better"
    else:
        decision = "no clear gain"
        reason = f"the difference is within what {comparison.labels} held-out labels can show"
        if comparison.luck:
            reason = f"the difference is within what the luck of training and {comparison.labels} held-out labels make"
    return Verdict(
        decision,
        reason,
        comparison.difference,
        comparison.interval,
        comparison.p_value,
        comparison.labels,
        source,
        treatment,
        comparison.controls,
        comparison.luck,
    )
