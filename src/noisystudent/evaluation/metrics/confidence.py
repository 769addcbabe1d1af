"""More measures of confidence against accuracy: equal-mass bins, other means over bins, accuracy by response rate.

The functions take log-probabilities [N, K] and true classes [N]; those with ``_of`` in the name take the confidence of
each prediction, the largest probability of its row [N], and whether the prediction is correct [N]. The summaries of
bins take a table from ``equal_mass`` or from ``calibration.reliability``, whose bins have equal width. So does
``calibration.expected_calibration_error``; over equal-mass bins it is the adaptive calibration error.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt

from noisystudent.errors import DataError
from noisystudent.evaluation.metrics.results import CalibrationBin

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BIN_ROWS = 100  # Hendrycks et al. 2019, "Deep Anomaly Detection with Outlier Exposure"


def equal_mass(log_probabilities: Floats, labels: Ints, rows: int = BIN_ROWS) -> list[CalibrationBin]:
    """Bins with the same number of rows each, in ascending order of confidence (Nguyen and O'Connor 2015).

    The last bin also holds the remainder, so it has ``rows`` to 2 ``rows`` - 1 rows; fewer than ``rows`` rows in total
    make one bin. ``low`` and ``high`` are the smallest and largest confidence in a bin. Rows of equal confidence count
    with their mean accuracy, so their order does not matter.

    Args:
        log_probabilities: log-probabilities [N, K].
        labels: true classes [N].
        rows: rows per bin.

    Returns:
        The bins.

    Raises:
        DataError: there are no rows.
    """
    return equal_mass_of(*_predictions(log_probabilities, labels), rows)


def equal_mass_of(confidences: Floats, correct: Bools, rows: int = BIN_ROWS) -> list[CalibrationBin]:
    """``equal_mass`` from the confidence of each prediction and whether it is correct, [N] each."""
    confidence, accuracy = _ascending(confidences, correct)
    count = max(1, len(confidence) // rows)
    edges = [*range(0, count * rows, rows), len(confidence)]
    return [
        CalibrationBin(
            low=float(confidence[first]),
            high=float(confidence[end - 1]),
            count=end - first,
            confidence=float(confidence[first:end].mean()),
            accuracy=float(accuracy[first:end].mean()),
        )
        for first, end in itertools.pairwise(edges)
    ]


def root_mean_square_calibration_error(table: list[CalibrationBin]) -> float:
    """The square root of the sum over bins of (n_b / N) (accuracy_b - confidence_b)^2, in [0, 1].

    Over equal-mass bins of 100 rows it is the RMS calibration error of Hendrycks et al. (2019; for ImageNet-A:
    "Natural Adversarial Examples", 2021). Their published ``calib_err`` omits the last, most confident bin, so its
    values differ.
    """
    total = sum(row.count for row in table)
    return math.sqrt(math.fsum(row.count / total * (row.accuracy - row.confidence) ** 2 for row in table))


def maximum_calibration_error(table: list[CalibrationBin]) -> float:
    """The largest |accuracy_b - confidence_b| over nonempty bins, in [0, 1] (Guo et al. 2017, equation 5)."""
    return max(abs(row.accuracy - row.confidence) for row in table if row.count)


def response_rate_accuracy(log_probabilities: Floats, labels: Ints) -> float:
    """The area under the response rate accuracy curve (AURRA), in [0, 1], 1 is best (Hendrycks et al. 2021).

    It is the mean over k = 1 to N of the accuracy on the k most confident rows: how well confidence decides which
    predictions to give. Rows of equal confidence count with their mean accuracy.

    Args:
        log_probabilities: log-probabilities [N, K].
        labels: true classes [N].

    Returns:
        The area.

    Raises:
        DataError: there are no rows.
    """
    return response_rate_accuracy_of(*_predictions(log_probabilities, labels))


def response_rate_accuracy_of(confidences: Floats, correct: Bools) -> float:
    """``response_rate_accuracy`` from the confidence of each prediction and whether it is correct, [N] each."""
    _, accuracy = _ascending(confidences, correct)
    return float((np.cumsum(accuracy[::-1]) / np.arange(1, len(accuracy) + 1)).mean())


def _predictions(log_probabilities: Floats, labels: Ints) -> tuple[npt.NDArray[np.float64], Bools]:
    """The confidence of each row's prediction, and whether it is correct."""
    return np.exp(log_probabilities.max(axis=1).astype(np.float64)), log_probabilities.argmax(axis=1) == labels


def _ascending(confidences: Floats, correct: Bools) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Confidence in ascending order, and for each row the mean accuracy of all rows of that confidence."""
    if not len(confidences):
        raise DataError("There are no rows to compute calibration from. Give labeled images that can be read.")
    distinct, group, counts = np.unique(confidences.astype(np.float64), return_inverse=True, return_counts=True)
    accuracy = np.bincount(group, weights=correct) / counts
    return np.repeat(distinct, counts), np.repeat(accuracy, counts)
