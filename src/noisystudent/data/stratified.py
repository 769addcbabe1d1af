"""Seeded splits of labels, stratified by class: training and validation, labeled and rest, cross-fitting folds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from noisystudent.errors import DataError
from noisystudent.random_streams import generator

Indices = npt.NDArray[np.int64]


def carve_validation(labels: Indices, fraction: float, few_labels: int, seed: int) -> tuple[Indices, Indices]:
    """Splits labels into training and validation rows, stratified by class.

    If a class has fewer than ``few_labels`` labels, every row trains: a validation set of a few images per class is
    too small to choose by, and its labels are worth more in training.

    Args:
        labels: class index per row, [N].
        fraction: fraction of each class that validates, 0 to 1 (at least one image per class); 0: none.
        few_labels: with fewer labels than this (or than 2) in any class, no row validates.
        seed: seed of the draw.

    Returns:
        The training rows and the validation rows, both ascending.
    """
    counts = np.unique(labels, return_counts=True)[1]
    if fraction == 0 or not len(counts) or counts.min() < max(few_labels, 2):
        return np.arange(len(labels)), np.arange(0)
    chosen = [
        rows[: min(len(rows) - 1, max(1, round(fraction * len(rows))))]
        for rows in _shuffled_by_class(labels, seed, "validation")
    ]
    return _rest_and_chosen(len(labels), chosen)


def draw_labeled(labels: Indices, per_class: int, seed: int, *, names: Sequence[str] = ()) -> tuple[Indices, Indices]:
    """Draws ``per_class`` rows of each class in ``labels`` and returns them and the other rows, both ascending.

    Raises ``DataError`` for a class with fewer rows, by its name in ``names``, or by its index without any.
    """
    drawn = []
    for rows in _shuffled_by_class(labels, seed, "labeled"):
        if len(rows) < per_class:
            label = int(labels[rows[0]])
            name = repr(names[label]) if names else f"with index {label}"
            raise DataError(
                f"The class {name} has {len(rows)} images, fewer than the {per_class} labels per class to draw. Draw "
                "fewer, or add images to that class."
            )
        drawn.append(rows[:per_class])
    rest, chosen = _rest_and_chosen(len(labels), drawn)
    return chosen, rest


def draw_at_most(labels: Indices, most: int, seed: int) -> Indices:
    """Draws about ``most`` rows, each class in proportion and with at least 2 of its rows; all rows if they are fewer.

    Returns ascending rows.
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    drawn = [
        rows[: max(2, round(most * len(rows) / len(labels)))] for rows in _shuffled_by_class(labels, seed, "at most")
    ]
    return _rest_and_chosen(len(labels), drawn)[1]


def single_labels(labels: Indices) -> list[int]:
    """The classes with a single label, which cannot be cross-fitted: a model without it does not know the class."""
    classes, counts = np.unique(labels, return_counts=True)
    return [int(label) for label in classes[counts == 1]]


def cross_fit_folds(labels: Indices, folds: int, seed: int) -> list[Indices]:
    """Deals all rows out to ``folds`` (at least 2) disjoint sets, each class evenly; each set is ascending.

    A model that learned from the other folds predicts each fold, so every label is tested, and never by a model that
    trained on it. No class may have a single label.
    """
    assert folds >= 2
    assert not single_labels(labels)
    dealt: list[list[int]] = [[] for _ in range(folds)]
    position = 0  # continues from class to class, so that the folds' sizes differ by at most one
    for rows in _shuffled_by_class(labels, seed, "folds"):
        for row in rows:
            dealt[position % folds].append(int(row))
            position += 1
    return [np.array(sorted(rows), dtype=np.int64) for rows in dealt]


def _shuffled_by_class(labels: Indices, seed: int, purpose: str) -> Iterator[Indices]:
    """The rows of each class in random order, from a separate stream per class, seed and purpose."""
    for label in np.unique(labels):
        yield generator(seed, "split", purpose, int(label)).permutation(np.flatnonzero(labels == label))


def _rest_and_chosen(count: int, chosen_by_class: list[Indices]) -> tuple[Indices, Indices]:
    chosen = np.zeros(count, dtype=bool)
    for rows in chosen_by_class:
        chosen[rows] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
