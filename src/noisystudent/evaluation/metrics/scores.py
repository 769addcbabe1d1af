"""Scores: the named numbers of one classifier on one labeled source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from noisystudent.evaluation.metrics import accuracy, calibration
from noisystudent.evaluation.metrics.temperature import apply_temperature


def score(
    log_probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.int64], classes: Sequence[str]
) -> dict[str, object]:
    """Top-1, top-5, ECE, NLL, Brier, per class, confusion and calibration table, from [N, K] and [N].

    With fewer than five classes top-5 is the top of all of them, that is 1.
    """
    confused = accuracy.confusion(log_probabilities.argmax(axis=1), labels, len(classes))
    table = calibration.reliability(log_probabilities, labels)
    return {
        "top1": accuracy.top_k(log_probabilities, labels, 1),
        "top5": accuracy.top_k(log_probabilities, labels, 5),
        "ece": calibration.expected_calibration_error(table),
        "nll": calibration.negative_log_likelihood(log_probabilities, labels),
        "brier": calibration.brier(log_probabilities, labels),
        "count": len(labels),
        "per_class": dict(zip(classes, accuracy.per_class(confused), strict=True)),
        "confusion": confused.tolist(),
        "calibration": [asdict(row) for row in table],
    }


def scaled_scores(
    log_probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.int64], temperature: float
) -> dict[str, float]:
    """ECE, NLL and Brier of log-probabilities [N, K] brought to a temperature, which is named; top-1 and top-5 stay."""
    scaled = apply_temperature(log_probabilities, temperature)
    return {
        "temperature": temperature,
        "ece": calibration.expected_calibration_error(calibration.reliability(scaled, labels)),
        "nll": calibration.negative_log_likelihood(scaled, labels),
        "brier": calibration.brier(scaled, labels),
    }
