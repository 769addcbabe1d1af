"""Labels that look wrong, from what models answer for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

from noisystudent.results.findings import LabelIssue

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

WORTH_A_LOOK = 0.2  # of the labels that are listed, most turned out to be wrong (docs/results/unlabeled-folders.md)
_PRIOR = (1.0, 20.0)  # pseudo-counts of wrong and of right labels: most sets have few wrong ones
_START = (0.0, -3.0)  # log temperature 0, and 5% of the labels wrong


def label_issue(key: str, log_probabilities: Floats, label: int, classes: Sequence[str]) -> LabelIssue:
    """An image whose label looks wrong, with what models answer for it.

    Args:
        key: The key of the image.
        log_probabilities: The answers, [K].
        label: The given class.
        classes: The names of all classes.
    """
    predicted = int(log_probabilities.argmax())
    probabilities = np.exp(log_probabilities)
    return LabelIssue(
        key=key,
        label=classes[label],
        prediction=classes[predicted],
        label_probability=float(probabilities[label]),
        confidence=float(probabilities[predicted]),
    )


def wrong_label_probabilities(log_probabilities: Floats, labels: Ints) -> Floats:
    """The probability that each label is wrong, float32 [N], best from answers of models that did not learn from it.

    A label is right with probability 1 - e, and then drawn from the model's answer p; else it is any of the other
    classes, so that its likelihood is (1 - e) p(label) + e (1 - p(label)) / (K - 1). The share e of wrong labels and
    the temperature of the answers are those with the highest likelihood, with a weak prior for few wrong labels.
    Confident learning (Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels") has one
    threshold per class instead, which ten labels per class cannot estimate (docs/results/unlabeled-folders.md).

    Args:
        log_probabilities: The answers, [N, K], K at least 2.
        labels: The given classes, [N].
    """
    rows, others = np.arange(len(labels)), log_probabilities.shape[1] - 1

    def likelihoods(parameters: npt.NDArray[np.float64]) -> tuple[Floats, Floats, float]:
        share = float(expit(parameters[1]))
        answers = np.exp(log_softmax(log_probabilities / np.exp(parameters[0]), axis=1))[rows, labels]
        return (1 - share) * answers, share * (1 - answers) / others, share

    def loss(parameters: npt.NDArray[np.float64]) -> float:
        right, wrong, share = likelihoods(parameters)
        prior = _PRIOR[0] * np.log(share + 1e-12) + _PRIOR[1] * np.log(1 - share + 1e-12)
        return float(-np.log(right + wrong + 1e-12).sum() - prior)

    fitted = minimize(loss, np.array(_START), method="Nelder-Mead").x
    right, wrong, _ = likelihoods(fitted)
    return np.asarray(wrong / np.maximum(right + wrong, 1e-12), np.float32)


def suspicious_labels(log_probabilities: Floats, labels: Ints) -> Ints:
    """The rows whose label is wrong with a probability above 20% and not the model's answer, most suspicious first.

    Arguments are those of ``wrong_label_probabilities``.
    """
    wrong = wrong_label_probabilities(log_probabilities, labels)
    listed = np.flatnonzero((wrong > WORTH_A_LOOK) & (log_probabilities.argmax(axis=1) != labels))
    return listed[np.argsort(-wrong[listed], kind="stable")]
