"""Did the unlabeled images help? A paired comparison of two classifiers on the same held-out labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from noisystudent.random_streams import generator

Bools = npt.NDArray[np.bool_]
Decision = Literal["keep", "roll back", "cannot tell"]

RESAMPLES = 10_000
UNLABELED = "the unlabeled images"


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
class Verdict:
    """The student against its control on held-out labels; the numbers are None without held-out labels.

    Attributes:
        decision: keep the student, roll back to the control, or cannot tell.
        reason: the reason for the decision, for the report.
        difference: accuracy of the student minus accuracy of the control, in [-1, 1].
        interval: the 95% interval of the difference.
        p_value: the exact McNemar p-value.
        labels: number of held-out labels; 0 without any, or without a control.
        source: the role of the source of these labels.
        treatment: what the student had and the control had not.
    """

    decision: Decision
    reason: str = ""
    difference: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    labels: int = 0
    source: Literal["test", "validation", "none"] = "none"
    treatment: str = UNLABELED


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


def reach_verdict(
    comparison: Comparison | None, source: Literal["test", "validation", "none"], treatment: str = UNLABELED
) -> Verdict:
    """Decides whether to keep the student, from its comparison with the labels-only control.

    Args:
        comparison: the student (first) against the control (second); None without held-out labels.
        source: the role of the source of the held-out labels.
        treatment: what the student had and the control had not, for the reason.

    Returns:
        ``keep`` if the whole interval lies above zero and the test agrees at 5%, ``roll back`` if it lies below zero
        and the test agrees, else ``cannot tell``.
    """
    if comparison is None or source == "none":
        reason = "no held-out labels: give --test or --validation, or more labels per class, to get an answer"
        return Verdict("cannot tell", reason, None, None, None, 0, "none", treatment)
    low, high = comparison.interval
    decision: Decision
    if comparison.p_value < 0.05 and low > 0:
        decision, reason = "keep", f"{treatment} helped"
    elif comparison.p_value < 0.05 and high < 0:
        decision, reason = "roll back", "the labels-only control is better"
    else:
        decision = "cannot tell"
        reason = f"the difference is within what {comparison.labels} held-out labels can show"
    return Verdict(
        decision,
        reason,
        comparison.difference,
        comparison.interval,
        comparison.p_value,
        comparison.labels,
        source,
        treatment,
    )
