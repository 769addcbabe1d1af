"""The scores of one model on one labeled source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from noisystudent.evaluation.metrics import accuracy, calibration
from noisystudent.evaluation.metrics.results import Scores
from noisystudent.evaluation.metrics.temperature import apply_temperature

FIVE = 5  # of the most probable classes, in top-5 accuracy


def score(log_probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.int64], classes: Sequence[str]) -> Scores:
    """Computes the scores of a model on labeled images.

    Args:
        log_probabilities: log-probabilities [N, K].
        labels: true classes [N].
        classes: the names of the K classes.

    Returns:
        All scores; ``top5`` is None with at most five classes, among which the true one always is.
    """
    confusion = accuracy.confusion(log_probabilities.argmax(axis=1), labels, len(classes))
    table = calibration.reliability(log_probabilities, labels)
    return Scores(
        top1=accuracy.top_k(log_probabilities, labels, 1),
        count=len(labels),
        top5=accuracy.top_k(log_probabilities, labels, FIVE) if len(classes) > FIVE else None,
        ece=calibration.expected_calibration_error(table),
        nll=calibration.negative_log_likelihood(log_probabilities, labels),
        brier=calibration.brier(log_probabilities, labels),
        per_class=dict(zip(classes, accuracy.per_class(confusion), strict=True)),
        confusion=tuple(map(tuple, confusion.tolist())),
        calibration=tuple(table),
    )


def scaled_scores(
    log_probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.int64], temperature: float
) -> dict[str, float]:
    """Computes the scores that temperature scaling changes; top-1 and top-5 do not change.

    Args:
        log_probabilities: log-probabilities [N, K].
        labels: true classes [N].
        temperature: the temperature, above 0.

    Returns:
        ``temperature``, and ``ece``, ``nll`` and ``brier`` at it.
    """
    scaled = apply_temperature(log_probabilities, temperature)
    return {
        "temperature": temperature,
        "ece": calibration.expected_calibration_error(calibration.reliability(scaled, labels)),
        "nll": calibration.negative_log_likelihood(scaled, labels),
        "brier": calibration.brier(scaled, labels),
    }
