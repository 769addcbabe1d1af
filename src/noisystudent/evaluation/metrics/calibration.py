"""How far a classifier's confidence can be believed: log-probabilities [N, K], true classes [N]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]

BINS = 15  # Guo et al. 2017


@dataclass(frozen=True)
class CalibrationBin:
    """Rows with confidence in (low, high]: how many, their mean confidence and their accuracy."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(log_probabilities: Floats, labels: Ints, bins: int = BINS) -> list[CalibrationBin]:
    """The reliability diagram: ``bins`` equal-width bins of confidence, empty ones with zeros (Guo et al. 2017)."""
    confidence = np.exp(log_probabilities.max(axis=1).astype(np.float64))
    return reliability_of(confidence, log_probabilities.argmax(axis=1) == labels, bins)


def reliability_of(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int = BINS) -> list[CalibrationBin]:
    """The same from the confidences of the answers and whether they are right, [N] each."""
    # Bins are (low, high], so a confidence of exactly 1 falls into the last one.
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    table = []
    for i in range(bins):
        inside = number == i
        count = int(inside.sum())
        means = (float(confidence[inside].mean()), float(correct[inside].mean())) if count else (0.0, 0.0)
        table.append(CalibrationBin(i / bins, (i + 1) / bins, count, *means))
    return table


def expected_calibration_error(table: list[CalibrationBin]) -> float:
    """ECE = sum over bins of (n_b / N) |accuracy_b - confidence_b|, in [0, 1] (Guo et al. 2017, equation 3)."""
    total = sum(row.count for row in table)
    return sum(row.count / total * abs(row.accuracy - row.confidence) for row in table)


def losses(log_probabilities: Floats, labels: Ints) -> npt.NDArray[np.float64]:
    """-log p(true class) of each row [N], in nats."""
    return -log_probabilities[np.arange(len(labels)), labels].astype(np.float64)


def squared_distances(log_probabilities: Floats, labels: Ints) -> npt.NDArray[np.float64]:
    """The sum over classes of (p_k - [k = y])^2 of each row [N], in [0, 2] (Brier 1950)."""
    probabilities = np.exp(log_probabilities.astype(np.float64))
    probabilities[np.arange(len(labels)), labels] -= 1
    distances: npt.NDArray[np.float64] = (probabilities**2).sum(axis=1)
    return distances


def negative_log_likelihood(log_probabilities: Floats, labels: Ints) -> float:
    """Mean of -log p(true class), in nats."""
    return float(losses(log_probabilities, labels).mean())


def brier(log_probabilities: Floats, labels: Ints) -> float:
    """The mean over rows of ``squared_distances``, in [0, 2] (Brier 1950)."""
    return float(squared_distances(log_probabilities, labels).mean())
