"""MUNGE: synthetic feature vectors near the real ones, for a teacher to label if unlabeled data are scarce.

Bucila, Caruana and Niculescu-Mizil, "Model Compression" (KDD 2006), section 2.3 and algorithm 1. It suits tables and
small, centered images taken as vectors. Sampling each attribute independently would leave the region of the data,
because attributes depend on each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from noisystudent.errors import DataError, SettingsError
from noisystudent.random_streams import generator

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def munge(
    features: npt.ArrayLike,
    *,
    multiplier: int,
    probability: float,
    variance: float,
    nominal: Sequence[int] = (),
    seed: int = 0,
) -> Floats:
    """Generates synthetic rows near the real rows of ``features`` with MUNGE.

    Each pass copies the data and visits the copy row by row. It changes each row e together with its nearest neighbor
    e' in the copy: with ``probability``, for each attribute a, a nominal attribute is swapped between the two rows, and
    a continuous one is drawn anew in both: e_a from Normal(e'_a, d / variance) and e'_a from Normal(e_a, d / variance),
    where d = |e_a - e'_a| and the second number is a standard deviation.

    The distance is Euclidean, with continuous attributes scaled to [0, 1] and a distance of 0 or 1 between nominal
    values; of equally near rows, the first is the neighbor. Values may lie outside the range of the data: round and
    clip them if that matters. A pass takes O(N^2 A) steps.

    Args:
        features: real rows, finite numbers [N, A] with N at least 2.
        multiplier: number of passes, at least 1. Each has its own random stream, so more passes do not change the
            first ones.
        probability: probability that an attribute of a visited row changes, 0 to 1.
        variance: the paper's local variance parameter s, above 0. A larger value means less noise; at infinity, the
            two values are swapped.
        nominal: columns of nominal attributes, from 0.
        seed: seed of the random streams.

    Returns:
        The synthetic rows, float64 [multiplier * N, A], pass after pass.

    Raises:
        DataError: the features are not finite numbers, or have fewer than 2 rows or no column.
        SettingsError: an argument is out of range, or ``nominal`` names an unknown column.

    Source: Bucila et al. 2006, algorithm 1.
    """
    rows = _checked_rows(features)
    _check_settings(multiplier, probability, variance)
    is_nominal = _nominal_columns(nominal, rows.shape[1])
    passes = [
        _one_pass(rows, is_nominal, probability, variance, generator(seed, "munge", number))
        for number in range(multiplier)
    ]
    return np.concatenate(passes)


def _one_pass(
    rows: Floats, is_nominal: Bools, probability: float, variance: float, random: np.random.Generator
) -> Floats:
    """A copy of the rows in which each row changed once, together with its nearest neighbor at that time."""
    changed = rows.copy()
    ranges = np.ptp(rows, axis=0)
    scales = 1 / np.where(ranges > 0, ranges, 1)
    differences = np.empty_like(rows)  # allocated once: allocating it for every row takes longer than filling it
    for row in range(len(changed)):
        neighbor = _nearest(changed, row, scales, is_nominal, differences)
        values, neighbor_values = changed[row].copy(), changed[neighbor].copy()
        deviation = np.abs(values - neighbor_values) / variance
        deviation[is_nominal] = 0  # without noise, the draw swaps the two values
        drawn = random.random(len(deviation)) < probability
        noise = deviation * random.standard_normal((2, len(deviation)))
        changed[row] = np.where(drawn, neighbor_values + noise[0], values)
        changed[neighbor] = np.where(drawn, values + noise[1], neighbor_values)
    return changed


def _nearest(rows: Floats, row: int, scales: Floats, is_nominal: Bools, differences: Floats) -> int:
    """The index of the row nearest to row ``row``; overwrites ``differences``."""
    np.subtract(rows, rows[row], out=differences)
    np.multiply(differences, scales, out=differences)
    differences[:, is_nominal] = rows[:, is_nominal] != rows[row, is_nominal]
    squared_distances = np.einsum("na,na->n", differences, differences)
    squared_distances[row] = np.inf
    return int(squared_distances.argmin())


def _checked_rows(features: npt.ArrayLike) -> Floats:
    array = np.asarray(features)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise DataError(
            f"The features are {array.dtype} of shape {array.shape}, and they must be numbers of shape [N, A]: a row "
            "per example and a column per attribute. Number the values of nominal attributes."
        )
    if array.shape[0] < 2 or array.shape[1] < 1:
        raise DataError(
            f"The features have the shape {array.shape}, and at least 2 rows and 1 column are needed: MUNGE changes "
            "every row together with another one. Give more."
        )
    rows = array.astype(np.float64)
    finite = np.isfinite(rows)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise DataError(
            f"The features have {rows[row, column]} in row {row}, column {column}, and only finite numbers have a "
            "distance. Fill in the missing values, or remove their rows."
        )
    return rows


def _check_settings(multiplier: int, probability: float, variance: float) -> None:
    if multiplier < 1:
        raise SettingsError(f"multiplier is {multiplier}; give a whole number of at least 1.")
    if not 0 <= probability <= 1:
        raise SettingsError(f"probability is {probability}; give a number from 0 to 1.")
    if not variance > 0:
        raise SettingsError(f"variance is {variance}; give a number above 0.")


def _nominal_columns(nominal: Sequence[int], columns: int) -> Bools:
    """Whether each column is nominal: bool [A]."""
    is_nominal = np.zeros(columns, np.bool_)
    for column in nominal:
        if not 0 <= column < columns:
            raise SettingsError(f"nominal names column {column}; the features have columns 0 to {columns - 1}.")
        is_nominal[column] = True
    return is_nominal
