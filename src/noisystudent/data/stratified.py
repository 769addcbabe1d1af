"""Which labels train and which choose: seeded, and stratified by class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from noisystudent.errors import DataError
from noisystudent.random_streams import generator

Indices = npt.NDArray[np.int64]


def carve_validation(labels: Indices, fraction: float, few_labels: int, seed: int) -> tuple[Indices, Indices]:
    """The rows that train and the rows that validate (``fraction`` of each class, at least one), in order.

    When a class has fewer than ``few_labels`` labels, or ``fraction`` is 0, every row trains and none
    validates: a validation set of a few images a class says little, and those labels are worth more in
    training.
    """
    counts = np.unique(labels, return_counts=True)[1]
    if fraction == 0 or not len(counts) or counts.min() < max(few_labels, 2):
        return np.arange(len(labels)), np.arange(0)
    chosen = [
        rows[: min(len(rows) - 1, max(1, round(fraction * len(rows))))]
        for rows in _shuffled_by_class(labels, seed, "validation")
    ]
    return _rest_and_chosen(len(labels), chosen)


def draw_labeled(labels: Indices, per_class: int, seed: int) -> tuple[Indices, Indices]:
    """``per_class`` rows of each class that is in ``labels``, and all other rows, both in order.

    Raises ``DataError`` for a class with fewer rows.
    """
    drawn = []
    for rows in _shuffled_by_class(labels, seed, "labeled"):
        if len(rows) < per_class:
            raise DataError(
                f"Class number {labels[rows[0]]} has {len(rows)} images, and {per_class} a class are to be "
                "drawn. Draw fewer, or add images to that class."
            )
        drawn.append(rows[:per_class])
    rest, chosen = _rest_and_chosen(len(labels), drawn)
    return chosen, rest


def cross_fit_folds(labels: Indices, folds: int, seed: int) -> list[Indices]:
    """All rows dealt out to ``folds`` disjoint sets, every class evenly; each set in order.

    Each fold is judged by a model that learned from the others, so that every label judges and none its own
    model. Raises ``DataError`` for a class with a single label, which no model could have learned.
    """
    assert folds >= 2
    dealt: list[list[int]] = [[] for _ in range(folds)]
    turn = 0  # goes on from class to class, so that the folds' sizes differ by at most one
    for rows in _shuffled_by_class(labels, seed, "folds"):
        if len(rows) < 2:
            raise DataError(
                f"Class number {labels[rows[0]]} has 1 label, and cross-fitting needs at least 2 of each "
                "class. Label another image of that class."
            )
        for row in rows:
            dealt[turn % folds].append(int(row))
            turn += 1
    return [np.array(sorted(rows), dtype=np.int64) for rows in dealt]


def _shuffled_by_class(labels: Indices, seed: int, purpose: str) -> Iterator[Indices]:
    """The rows of each class in a random order of their own for every class, seed and purpose."""
    for label in np.unique(labels):
        yield generator(seed, "split", purpose, int(label)).permutation(np.flatnonzero(labels == label))


def _rest_and_chosen(count: int, chosen_by_class: list[Indices]) -> tuple[Indices, Indices]:
    chosen = np.zeros(count, dtype=bool)
    for rows in chosen_by_class:
        chosen[rows] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
