"""How steady predictions are along sequences of slightly perturbed images: ImageNet-P's measures, in NumPy.

Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
section 4.2, and their published code where the paper leaves something open. No labels are needed.
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
    """Means over the pairs of frames of a sequence, then over sequences; 0 is steadiest.

    ``flip_probability`` in [0, 1]: how often the prediction differs. ``top5_distance`` in [0, 15]: how far the five
    first classes of one frame move in the other. ``zipf_distance``: how far all classes move, each weighted by
    1 / rank; None where only the first ranks were given. ``sequences``: how many.
    """

    flip_probability: float
    top5_distance: float
    zipf_distance: float | None
    sequences: int


class StabilityMeter:
    """Takes one sequence after another, keeps only sums, and gives their stability.

    ``noise``: frames of noise are independent, so each is compared with the first of its sequence. Other frames change
    gradually, and each is compared with the one ``lag`` (1 to 3, the benchmark's difficulty) before it: all such pairs
    of a sequence, which is what comes of taking it apart into ``lag`` interleaved ones. With ``noise`` the lag changes
    nothing: there the difficulty is other images.
    """

    def __init__(self, *, noise: bool, lag: int = 1) -> None:
        if lag not in (1, 2, 3):
            raise DataError(f"The lag between frames is {lag}, and may be 1, 2 or 3.")
        self._noise = noise
        self._lag = lag
        self._sums = np.zeros(3)
        self._sequences = 0

    def add(self, logits: Floats) -> None:
        """One more sequence by its logits, or log-probabilities, [n, K] of n frames; ties go to the lower class."""
        if logits.ndim != 2 or not np.isfinite(logits).all():
            raise DataError(
                f"The logits of a sequence have shape {logits.shape}; they must be finite, one row of classes a frame."
            )
        self.add_rankings(ranking(logits), classes=logits.shape[1])

    def add_rankings(self, rankings: Ints, *, classes: int) -> None:
        """One more sequence by the classes of each frame in order, the most probable first: int [n, k].

        ``k`` is at least 5, or all of the ``classes``; where it is not all of them, there is no Zipf distance.
        """
        frames, kept = rankings.shape
        pairs_from = 1 if self._noise else self._lag
        if frames <= pairs_from:
            raise DataError(
                f"A sequence has {frames} frames, and at least {pairs_from + 1} are needed to compare them at lag "
                f"{pairs_from}."
            )
        if kept < min(TOP, classes):
            raise DataError(
                f"A ranking holds the first {kept} of {classes} classes, and {min(TOP, classes)} are needed."
            )
        later = rankings[pairs_from:]
        earlier = np.broadcast_to(rankings[0], later.shape) if self._noise else rankings[:-pairs_from]
        self._sums += [
            (later[:, 0] != earlier[:, 0]).mean(),
            _top_distances(earlier, later, classes).mean(),
            _zipf_distances(earlier, later).mean() if kept == classes else np.nan,
        ]
        self._sequences += 1

    def result(self) -> SequenceStability:
        """The stability over all sequences so far; raises ``DataError`` when there were none."""
        if not self._sequences:
            raise DataError("There are no sequences to take the stability of. Give at least one.")
        flips, top, zipf = (float(value) for value in self._sums / self._sequences)
        return SequenceStability(flips, top, None if np.isnan(zipf) else zipf, self._sequences)


def ranking(logits: Floats) -> Ints:
    """The classes of each row of [n, K] from the most to the least probable, equal ones in ascending order."""
    return np.argsort(-logits, axis=1, kind="stable")


def compares_with_first(perturbation: str) -> bool:
    """Whether the frames of a perturbation are compared with the first one: those whose name has ``noise`` in it."""
    return "noise" in perturbation


def mean_over(values: Mapping[str, float], perturbations: Sequence[str] = TEST_PERTURBATIONS) -> float:
    """The mean of a measure over a whole set of perturbations, ImageNet-P's ten unless another set is given.

    This is CIFAR-10-P's mean flip probability, and what can be said without another network to divide by. Raises
    ``DataError`` naming those of the set that are missing; others do not enter.
    """
    return float(np.mean([_of(values, name, "measured") for name in perturbations]))


def mean_rate(
    values: Mapping[str, float], baseline: Mapping[str, float], perturbations: Sequence[str] = TEST_PERTURBATIONS
) -> float:
    """100 times the mean over perturbations of a measure divided by another network's: mFR, or mT5D.

    Of flip probabilities it is the mean flip rate, of top-5 distances the mean top-5 distance. ``baseline`` is
    the same measure of the network that has 100, AlexNet in the paper: its values are not shipped, because no published
    file with them was found. Raises ``DataError`` naming a perturbation that either lacks, and for a baseline of 0.
    """
    rates = []
    for name in perturbations:
        divisor = _of(baseline, name, "in the baseline")
        if divisor <= 0:
            raise DataError(f"The baseline of {name} is {divisor}, and it divides: it must be above 0.")
        rates.append(_of(values, name, "measured") / divisor)
    return 100 * float(np.mean(rates))


def _of(values: Mapping[str, float], name: str, where: str) -> float:
    if name not in values:
        raise DataError(f"{name} is not {where}, and the mean is over the whole set. Give it, or a smaller set.")
    return values[name]


def _top_distances(earlier: Ints, later: Ints, classes: int) -> npt.NDArray[np.float64]:
    """For each pair, the sum over ranks i = 1 to 5 of |(i - 1) - min(s(i) - 1, 5)|, s(i) being the later rank.

    Equal to the double sum of the paper's section 4.2. A rank beyond the fifth counts as the sixth.
    """
    top = min(TOP, classes)
    matches = earlier[:, :top, None] == later[:, None, :top]
    places = np.where(matches.any(axis=2), matches.argmax(axis=2), TOP)
    distances: npt.NDArray[np.float64] = np.abs(places - np.arange(top)).sum(axis=1).astype(np.float64)
    return distances


def _zipf_distances(earlier: Ints, later: Ints) -> npt.NDArray[np.float64]:
    """For each pair, the sum over all ranks i of |1/i - 1/s(i)| / i, s(i) being the later rank (published code)."""
    weights = 1 / np.arange(1, earlier.shape[1] + 1)
    places = np.take_along_axis(np.argsort(later, axis=1), earlier, axis=1)
    distances: npt.NDArray[np.float64] = (np.abs(weights - weights[places]) * weights).sum(axis=1)
    return distances
