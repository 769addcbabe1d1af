"""Prediction stability along sequences of slightly perturbed images: the measures of ImageNet-P.

Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
section 4.2, and their published code where the paper is not specific. No labels are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noisystudent.errors import DataError
from noisystudent.evaluation.corruptions.tables import TEST_PERTURBATIONS

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]

TOP = 5


@dataclass(frozen=True)
class SequenceStability:
    """Means over the pairs of frames of a sequence, then over sequences; 0 is the most stable.

    Attributes:
        flip_probability: the fraction of pairs with different predictions, in [0, 1].
        top5_distance: how far the five most probable classes of one frame move in the other, in [0, 15].
        zipf_distance: how far all classes move, weighted by 1 / rank; None if only the first ranks are known.
        sequences: number of sequences.
    """

    flip_probability: float
    top5_distance: float
    zipf_distance: float | None
    sequences: int


class StabilityMeter:
    """Accumulates the stability of sequences one by one; only sums stay in memory."""

    def __init__(self, *, noise: bool, lag: int = 1) -> None:
        """Sets which pairs of frames are compared.

        Args:
            noise: compare each frame with the first of its sequence, because frames of noise are independent; the lag
                then has no effect. Otherwise frames change gradually, and each is compared with the one ``lag`` before
                it.
            lag: the distance between compared frames, 1 to 3, the benchmark's difficulty. All such pairs count; they
                are the consecutive pairs of ``lag`` interleaved sequences.

        Raises:
            DataError: the lag is not 1, 2 or 3.
        """
        if lag not in (1, 2, 3):
            raise DataError(f"The lag between frames must be 1, 2 or 3, not {lag!r}.")
        self._noise = noise
        self._lag = lag
        self._sums = np.zeros(3)
        self._sequences = 0

    def add(self, logits: Floats) -> None:
        """Adds a sequence by its logits or log-probabilities.

        Args:
            logits: one row per frame [n, K]; ties go to the lower class number.

        Raises:
            DataError: the values are not finite, the shape is not [n, K], or there are too few frames.
        """
        if logits.ndim != 2 or not np.isfinite(logits).all():
            raise DataError(
                f"The logits of a sequence have shape {logits.shape}; they must be finite, with one row of classes per "
                "frame. Check the model."
            )
        self.add_rankings(ranking(logits), classes=logits.shape[1])

    def add_rankings(self, rankings: Ints, *, classes: int) -> None:
        """Adds a sequence by its rankings.

        Args:
            rankings: the classes of each frame, the most probable first, int [n, k]; k is at least 5 or ``classes``.
                If k is less than ``classes``, there is no Zipf distance.
            classes: number of classes.

        Raises:
            DataError: there are too few frames or ranks.
        """
        frames, ranked = rankings.shape
        lag = 1 if self._noise else self._lag
        if frames <= lag:
            raise DataError(
                f"A sequence has {frames} frames; comparing them at lag {lag} needs at least {lag + 1}. Give complete "
                "sequences."
            )
        if ranked < min(TOP, classes):
            raise DataError(
                f"A ranking holds the first {ranked} of {classes} classes; at least {min(TOP, classes)} are needed. "
                "Give more ranks."
            )
        later = rankings[lag:]
        earlier = np.broadcast_to(rankings[0], later.shape) if self._noise else rankings[:-lag]
        self._sums += [
            (later[:, 0] != earlier[:, 0]).mean(),
            _top_distances(earlier, later, classes).mean(),
            _zipf_distances(earlier, later).mean() if ranked == classes else np.nan,
        ]
        self._sequences += 1

    def result(self) -> SequenceStability:
        """The stability over all sequences so far; raises ``DataError`` if there are none."""
        if not self._sequences:
            raise DataError("There are no sequences to measure stability on. Give at least one.")
        flips, top, zipf = (float(value) for value in self._sums / self._sequences)
        return SequenceStability(flips, top, None if np.isnan(zipf) else zipf, self._sequences)


def ranking(logits: Floats) -> Ints:
    """The classes of each row of [n, K] from the most to the least probable; ties are in ascending order."""
    return np.argsort(-logits, axis=1, kind="stable")


def compares_with_first(perturbation: str) -> bool:
    """Whether the frames of a perturbation are compared with the first one: its name contains ``noise``."""
    return "noise" in perturbation


def mean_over(values: Mapping[str, float], perturbations: Sequence[str] = TEST_PERTURBATIONS) -> float:
    """The mean of a measure over a set of perturbations, without dividing by another network's measure.

    For flip probabilities it is CIFAR-10-P's mean flip probability.

    Args:
        values: the measure of each perturbation; those outside the set are ignored.
        perturbations: the set, by default ImageNet-P's ten.

    Returns:
        The mean.

    Raises:
        DataError: a perturbation of the set is missing.
    """
    return float(np.mean([_value(values, name, "measured") for name in perturbations]))


def mean_rate(
    values: Mapping[str, float], baseline: Mapping[str, float], perturbations: Sequence[str] = TEST_PERTURBATIONS
) -> float:
    """The mean over perturbations of a measure in percent of a baseline's: mFR or mT5D.

    For flip probabilities it is the mean flip rate (mFR), for top-5 distances the mean top-5 distance (mT5D). The
    paper's baseline is AlexNet; this package does not include its values, because no published file has them.

    Args:
        values: the measure of each perturbation.
        baseline: the baseline's measure of each perturbation.
        perturbations: the set, by default ImageNet-P's ten.

    Returns:
        The mean of the ratios in percent; the baseline has 100.

    Raises:
        DataError: a perturbation is missing in either, or the baseline's measure is not above 0.
    """
    rates = []
    for name in perturbations:
        divisor = _value(baseline, name, "in the baseline")
        if divisor <= 0:
            raise DataError(
                f"The baseline of {name} is {divisor}; it must be above 0, because results are divided by it. Use "
                "another baseline."
            )
        rates.append(_value(values, name, "measured") / divisor)
    return 100 * float(np.mean(rates))


def _value(values: Mapping[str, float], name: str, where: str) -> float:
    if name not in values:
        raise DataError(f"{name} is not {where}, but the mean is over the whole set. Add it, or give a smaller set.")
    return values[name]


def _top_distances(earlier: Ints, later: Ints, classes: int) -> npt.NDArray[np.float64]:
    """The sum over ranks i = 1 to 5 of |(i - 1) - min(s(i) - 1, 5)| for each pair; s(i) is the later rank.

    It equals the double sum in the paper's section 4.2. A rank beyond the fifth counts as the sixth.
    """
    top = min(TOP, classes)
    matches = earlier[:, :top, None] == later[:, None, :top]
    later_ranks = np.where(matches.any(axis=2), matches.argmax(axis=2), TOP)
    distances: npt.NDArray[np.float64] = np.abs(later_ranks - np.arange(top)).sum(axis=1).astype(np.float64)
    return distances


def _zipf_distances(earlier: Ints, later: Ints) -> npt.NDArray[np.float64]:
    """The sum over all ranks i of |1/i - 1/s(i)| / i for each pair; s(i) is the later rank (published code)."""
    weights = 1 / np.arange(1, earlier.shape[1] + 1)
    later_ranks = np.take_along_axis(np.argsort(later, axis=1), earlier, axis=1)
    distances: npt.NDArray[np.float64] = (np.abs(weights - weights[later_ranks]) * weights).sum(axis=1)
    return distances
