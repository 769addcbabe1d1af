"""Further ways to hold confidence against accuracy: bins of equal mass, other means over bins, response rates.

They take log-probabilities [N, K] and true classes [N], or with ``_of`` in their name the confidences [N], each the
largest probability of a row, and whether the answers are right [N]. The summaries of bins take a table from
``equal_mass`` or from ``calibration.reliability``, whose bins have equal width, and so does
``calibration.expected_calibration_error``: of equal-mass bins that is the adaptive calibration error.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt

from noisystudent.errors import DataError
from noisystudent.evaluation.metrics.calibration import CalibrationBin

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BIN_ROWS = 100  # Hendrycks et al. 2019, "Deep Anomaly Detection with Outlier Exposure"


def equal_mass(log_probabilities: Floats, labels: Ints, rows: int = BIN_ROWS) -> list[CalibrationBin]:
    """Bins of ``rows`` rows each, in ascending order of confidence (Nguyen and O'Connor 2015); none is left out.

    What is left over joins the last bin, so that it holds ``rows`` to 2 ``rows`` - 1; fewer than ``rows`` in all make
    one bin. ``low`` and ``high`` are the least and greatest confidence of a bin. Rows of the same confidence count with
    their mean accuracy, so that their order changes nothing. Raises ``DataError`` without rows.
    """
    return equal_mass_of(*_answers(log_probabilities, labels), rows)


def equal_mass_of(confidences: Floats, correct: Bools, rows: int = BIN_ROWS) -> list[CalibrationBin]:
    """The same from the confidences of the answers and whether they are right, [N] each."""
    confidence, hits = _ascending(confidences, correct)
    count = max(1, len(confidence) // rows)
    edges = [*range(0, count * rows, rows), len(confidence)]
    return [
        CalibrationBin(
            low=float(confidence[first]),
            high=float(confidence[end - 1]),
            count=end - first,
            confidence=float(confidence[first:end].mean()),
            accuracy=float(hits[first:end].mean()),
        )
        for first, end in itertools.pairwise(edges)
    ]


def root_mean_square_calibration_error(table: list[CalibrationBin]) -> float:
    """The square root of the sum over bins of (n_b / N) (accuracy_b - confidence_b)^2, in [0, 1].

    Over equal-mass bins of 100 it is the RMS calibration error of Hendrycks et al. (2019; ImageNet-A: "Natural
    Adversarial Examples", 2021). Their published ``calib_err`` loops over all bins but the last, the most confident
    one, and so differs.
    """
    total = sum(row.count for row in table)
    return math.sqrt(math.fsum(row.count / total * (row.accuracy - row.confidence) ** 2 for row in table))


def maximum_calibration_error(table: list[CalibrationBin]) -> float:
    """The largest |accuracy_b - confidence_b| of a bin that holds rows, in [0, 1] (Guo et al. 2017, equation 5)."""
    return max(abs(row.accuracy - row.confidence) for row in table if row.count)


def response_rate_accuracy(log_probabilities: Floats, labels: Ints) -> float:
    """The area under the response rate accuracy curve, AURRA: in [0, 1], 1 best (Hendrycks et al. 2021).

    The mean over k = 1 to N of the accuracy on the k most confident rows: how well confidence says when to answer. Rows
    of the same confidence count with their mean accuracy. Raises ``DataError`` without rows.
    """
    return response_rate_accuracy_of(*_answers(log_probabilities, labels))


def response_rate_accuracy_of(confidences: Floats, correct: Bools) -> float:
    """The same from the confidences of the answers and whether they are right, [N] each."""
    _, hits = _ascending(confidences, correct)
    return float((np.cumsum(hits[::-1]) / np.arange(1, len(hits) + 1)).mean())


def _answers(log_probabilities: Floats, labels: Ints) -> tuple[npt.NDArray[np.float64], Bools]:
    """The confidence of each row's answer, and whether it is right."""
    return np.exp(log_probabilities.max(axis=1).astype(np.float64)), log_probabilities.argmax(axis=1) == labels


def _ascending(confidences: Floats, correct: Bools) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Confidence in ascending order, and for each row the accuracy of all that have the same confidence."""
    if not len(confidences):
        raise DataError("There are no rows to take calibration from. Give labeled images that can be read.")
    distinct, group, counts = np.unique(confidences.astype(np.float64), return_inverse=True, return_counts=True)
    accuracy = np.bincount(group, weights=correct) / counts
    return np.repeat(distinct, counts), np.repeat(accuracy, counts)
