"""Calibration: how well confidence matches accuracy, from log-probabilities [N, K] and true classes [N]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from noisystudent.evaluation.metrics.results import CalibrationBin

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]

BINS = 15  # Guo et al. 2017


def reliability(log_probabilities: Floats, labels: Ints, bins: int = BINS) -> list[CalibrationBin]:
    """The reliability diagram: ``bins`` bins of equal width over confidence (Guo et al. 2017)."""
    confidence = np.exp(log_probabilities.max(axis=1).astype(np.float64))
    return reliability_of(confidence, log_probabilities.argmax(axis=1) == labels, bins)


def reliability_of(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int = BINS) -> list[CalibrationBin]:
    """The reliability diagram from the confidence of each prediction and whether it is correct, [N] each."""
    # Bins are (low, high], so a confidence of exactly 1 falls into the last one.
    bin_index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    table = []
    for i in range(bins):
        inside = bin_index == i
        count = int(inside.sum())
        means = (float(confidence[inside].mean()), float(correct[inside].mean())) if count else (0.0, 0.0)
        table.append(CalibrationBin(i / bins, (i + 1) / bins, count, *means))
    return table


def expected_calibration_error(table: list[CalibrationBin]) -> float:
    """ECE = sum over bins of (n_b / N) |accuracy_b - confidence_b|, in [0, 1] (Guo et al. 2017, equation 3)."""
    total = sum(row.count for row in table)
    return sum(row.count / total * abs(row.accuracy - row.confidence) for row in table)


def losses(log_probabilities: Floats, labels: Ints) -> npt.NDArray[np.float64]:
    """The negative log-likelihood of each row, -log p(true class), in nats [N]."""
    return -log_probabilities[np.arange(len(labels)), labels].astype(np.float64)


def squared_distances(log_probabilities: Floats, labels: Ints) -> npt.NDArray[np.float64]:
    """The Brier score of each row, the sum over classes of (p_k - [k = y])^2, in [0, 2] [N] (Brier 1950)."""
    probabilities = np.exp(log_probabilities.astype(np.float64))
    probabilities[np.arange(len(labels)), labels] -= 1
    distances: npt.NDArray[np.float64] = (probabilities**2).sum(axis=1)
    return distances


def negative_log_likelihood(log_probabilities: Floats, labels: Ints) -> float:
    """The mean negative log-likelihood, -log p(true class), in nats."""
    return float(losses(log_probabilities, labels).mean())


def brier(log_probabilities: Floats, labels: Ints) -> float:
    """The mean Brier score over rows, in [0, 2] (Brier 1950)."""
    return float(squared_distances(log_probabilities, labels).mean())
