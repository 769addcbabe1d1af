"""Class shares of an unlabeled set that differ from those of the labels: found, estimated, and predictions corrected.

Only the shares are taken to differ, not how the images of a class look (label shift).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from scipy.stats import chi2_contingency

from noisystudent.pseudo_labels import predictions
from noisystudent.pseudo_labels.predictions import read_part_stats
from noisystudent.pseudo_labels.selection.class_shares import Shares

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]

SIGNIFICANT = 0.1  # level of the test for other shares than those of the labels; 60 labels seldom reach 0.05
SMALLEST = 1e-4  # estimated share of a class: none is taken to be missing for certain
INVERSE_TEMPERATURES = (0.05, 20.0)  # the range in which a temperature is fitted
MOST_NUMBERS = 10_000_000  # log-probabilities that the shares are estimated from
_BIAS_PENALTY = 1.0  # on the biases of calibrated answers, against the sum of the losses of all held-out labels
_MOST_ITERATIONS = 500
_CONVERGED = 1e-7


@dataclass(frozen=True, eq=False)
class HeldOutAnswers:
    """Answers of a teacher for labels that it did not see: log-probabilities [V, K] and labels [V]."""

    log_probabilities: Floats
    labels: Ints


@dataclass(frozen=True, eq=False)
class Calibration:
    """What makes a teacher's answers probabilities among images with the class shares of the labels.

    The logits of calibrated answers are the log-probabilities divided by ``temperature``, plus ``biases`` [K].
    """

    temperature: float
    biases: Floats

    def logits(self, log_probabilities: Floats) -> Floats:
        """The calibrated logits of log-probabilities [N, K]: float64 [N, K]."""
        return log_probabilities.astype(np.float64) / self.temperature + self.biases


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassShares:
    """``class-shares/summary.json``: the shares that a selection aims at, and what they were estimated from.

    ``shares``: by class, in their order; ``reference``: the shares of the labels; ``temperature`` and ``biases``: what
    calibrates the teacher's answers by labels that it did not see (1 and 0 without these); ``p_value``: of the test for
    other shares than those of the labels, None where nothing was estimated.
    """

    shares: dict[str, float]
    reference: dict[str, float]
    biases: dict[str, float]
    temperature: float = 1.0
    p_value: float | None = None

    @property
    def values(self) -> Shares:
        """The shares in the order of the classes, float64 [K]."""
        return np.array(list(self.shares.values()))

    def correct(self, log_probabilities: Floats) -> Floats:
        """A teacher's log-probabilities [N, K] for images whose classes have these shares: float32 [N, K].

        Calibrated probabilities times shares / reference, normalized (Saerens et al. 2002, equation 2.4); as they are
        where the shares are those of the labels.
        """
        if self.shares == self.reference:
            return log_probabilities
        calibration = Calibration(self.temperature, np.array(list(self.biases.values())))
        weights = np.log(np.maximum(self.values, SMALLEST)) - np.log(list(self.reference.values()))
        return np.asarray(log_softmax(calibration.logits(log_probabilities) + weights, axis=1), np.float32)


def labeled_shares(labels: Ints, classes: int) -> Shares:
    """The share of each class among labels [N]: float64 [K]; a class without labels counts as if it had half of one."""
    counts = np.maximum(np.bincount(labels, minlength=classes), 0.5)
    return np.asarray(counts / counts.sum(), np.float64)


def calibrate(held_out: HeldOutAnswers) -> Calibration:
    """Temperature and biases under which held-out labels are most likely, with a penalty on the biases.

    Alexandari et al. 2020, "Maximum Likelihood with Bias-Corrected Calibration is Hard-To-Beat at Label Shift
    Adaptation". The biases matter: a teacher that was made for equal shares, such as labels that spread over a graph,
    does not expect the shares of the labels. The problem is convex in the inverse temperature and the biases.
    """
    values, count = held_out.log_probabilities.astype(np.float64), len(held_out.labels)
    targets = np.eye(values.shape[1])[held_out.labels]

    def loss_and_gradient(parameters: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        inverse, biases = parameters[0], parameters[1:]
        log_p = log_softmax(inverse * values + biases, axis=1)
        difference = (np.exp(log_p) - targets) / count
        loss = -(targets * log_p).sum() / count + _BIAS_PENALTY / 2 * np.square(biases).sum() / count
        of_biases = difference.sum(axis=0) + _BIAS_PENALTY * biases / count
        return float(loss), np.concatenate([[(difference * values).sum()], of_biases])

    start = np.concatenate([[1.0], np.zeros(values.shape[1])])
    bounds = [INVERSE_TEMPERATURES, *[(None, None)] * values.shape[1]]
    found = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return Calibration(1 / float(found[0]), found[1:])


def estimate_shares(
    log_probabilities: Floats, held_out: HeldOutAnswers, calibration: Calibration, reference: Shares
) -> tuple[Shares, float]:
    """The class shares of unlabeled images: those of the labels, unless the answers show that they differ.

    The test compares how often each class is predicted for held-out labels and for the unlabeled images (Lipton et al.
    2018, "Detecting and Correcting for Label Shift with Black Box Predictors"). If it is significant, the shares are
    those under which the calibrated answers are most likely.

    Args:
        log_probabilities: The teacher's answers for unlabeled images, [N, K].
        held_out: Its answers for labels that it did not see.
        calibration: What calibrates its answers.
        reference: The shares of the labels, [K].

    Returns:
        The shares [K], and the p-value of the test.
    """
    classes = log_probabilities.shape[1]
    counts = np.stack(
        [
            np.bincount(answers.argmax(axis=1), minlength=classes)
            for answers in (held_out.log_probabilities, log_probabilities)
        ]
    )
    counts = counts[:, counts.sum(axis=0) > 0]
    p_value = float(chi2_contingency(counts).pvalue) if counts.shape[1] > 1 else 1.0
    if p_value >= SIGNIFICANT:
        return reference, p_value
    return most_likely_shares(softmax(calibration.logits(log_probabilities), axis=1), reference), p_value


def most_likely_shares(probabilities: Floats, reference: Shares) -> Shares:
    """The class shares of images under which a classifier's answers are most likely: float64 [K].

    The expectation maximization of Saerens et al. 2002, "Adjusting the Outputs of a Classifier to New a Priori
    Probabilities", equation 2.9. It needs calibrated answers. The inverse of a confusion matrix (Lipton et al. 2018)
    has no such need, but with 10 labels per class the matrix is so uncertain that its error is twice as large.

    Args:
        probabilities: calibrated class probabilities of the images, [N, K].
        reference: the shares for which they are calibrated, [K], above 0.
    """
    shares = reference / reference.sum()
    for _ in range(_MOST_ITERATIONS):
        joint = probabilities * (shares / reference)
        found = (joint / joint.sum(axis=1, keepdims=True)).mean(axis=0)
        change = float(np.abs(found - shares).max())
        shares = found
        if change < _CONVERGED:
            break
    floored = np.maximum(shares, SMALLEST)
    return np.asarray(floored / floored.sum(), np.float64)


def sample_of(parts: Sequence[Path], classes: int) -> Floats:
    """Log-probabilities of evenly spaced rows of prediction parts, at most ``MOST_NUMBERS`` numbers: [N, K]."""
    rows = sum(sum(read_part_stats(path).rows) for path in parts)
    step = max(1, -(-rows * classes // MOST_NUMBERS))
    sampled, passed = [], 0
    for path in parts:
        _, values = predictions.read_log_probabilities(path, classes)
        sampled.append(values[-passed % step :: step])
        passed += len(values)
    return np.concatenate(sampled)
