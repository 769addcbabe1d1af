"""Did the unlabeled images help? A paired comparison of two classifiers on the same labeled images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
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
    """Accuracy of the first minus the second classifier, its 95% interval, and the exact McNemar p-value."""

    difference: float
    interval: tuple[float, float]
    p_value: float
    labels: int


@dataclass(frozen=True)
class Verdict:
    """The honest answer; numbers are None when there were no held-out labels to take them from.

    ``treatment`` is what the student had and the control had not.
    """

    decision: Decision
    reason: str
    difference: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    labels: int
    source: Literal["test", "validation", "none"]
    treatment: str = UNLABELED

    def as_json(self) -> dict[str, object]:
        """The verdict as summary.json holds it."""
        return {**asdict(self), "interval": list(self.interval) if self.interval else None}


def compare(first: Bools, second: Bools, *, seed: int = 0) -> Comparison:
    """Compares which images two classifiers get right, image by image: both bool [N].

    The p-value is McNemar's exact two-sided test: of the images on which just one is right, is the split like coin
    tosses (McNemar 1947)? The interval is the percentile interval of a paired bootstrap over images, 10,000
    resamples; an image contributes -1, 0 or 1, so resampling their counts is resampling images.
    """
    wins, losses = int((first & ~second).sum()), int((second & ~first).sum())
    count = len(first)
    p_value = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    shares = np.array([wins, losses, count - wins - losses]) / count
    resampled = generator(seed, "bootstrap").multinomial(count, shares, size=RESAMPLES)
    low, high = np.percentile((resampled[:, 0] - resampled[:, 1]) / count, [2.5, 97.5])
    return Comparison((wins - losses) / count, (float(low), float(high)), p_value, count)


def reach_verdict(
    comparison: Comparison | None, source: Literal["test", "validation", "none"], treatment: str = UNLABELED
) -> Verdict:
    """The verdict on the student (first) against its labels-only control (second), which had no ``treatment``.

    ``keep`` when the whole interval lies above zero and the test agrees at 5%, ``roll back`` when it lies below,
    ``cannot tell`` otherwise or without held-out labels.
    """
    if comparison is None or source == "none":
        reason = "no held-out labels: give --test or --validation, or more labels a class, to get an answer"
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
