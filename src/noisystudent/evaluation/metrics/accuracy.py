"""Accuracy from log-probabilities [N, K] and true classes [N]; all values are fractions in [0, 1]."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]


def ranks(log_probabilities: Floats, labels: Ints) -> Ints:
    """The rank of each row's true class [N], 0 for the most probable; ties go to the lower class number."""
    true = log_probabilities[np.arange(len(labels)), labels][:, None]
    better = (log_probabilities > true).sum(axis=1)
    earlier_tie = ((log_probabilities == true) & (np.arange(log_probabilities.shape[1]) < labels[:, None])).sum(axis=1)
    true_ranks: Ints = better + earlier_tie
    return true_ranks


def top_k(log_probabilities: Floats, labels: Ints, k: int) -> float:
    """The fraction of rows whose true class is among the ``k`` most probable, in [0, 1]."""
    return float((ranks(log_probabilities, labels) < k).mean())


def standard_error(fraction: float, count: int) -> float:
    """The standard error of a fraction over ``count`` independent images, sqrt(p (1 - p) / n)."""
    return math.sqrt(fraction * (1 - fraction) / count)


def confusion(predictions: Ints, labels: Ints, classes: int) -> Ints:
    """Counts [K, K]: row = true class, column = predicted class."""
    return np.bincount(labels * classes + predictions, minlength=classes * classes).reshape(classes, classes)


def per_class(confused: Ints) -> list[float | None]:
    """The recall of each class from a confusion matrix [K, K]; None for a class without images."""
    totals = confused.sum(axis=1)
    return [float(confused[i, i] / totals[i]) if totals[i] else None for i in range(len(totals))]
