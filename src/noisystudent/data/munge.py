"""Synthetic feature vectors that lie where the real ones do, to be labeled by a teacher where unlabeled data are few.

Bucila, Caruana and Niculescu-Mizil, "Model Compression" (KDD 2006), section 2.3 and algorithm 1, "MUNGE". It is for
tables and for small, centered images taken as vectors; drawing each attribute by itself would leave the region where
the data lie, since attributes depend on each other.
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
    """Synthetic rows near the real ``features`` [N, A]: ``multiplier`` passes over them, float64 [multiplier * N, A].

    Each pass begins with a copy of the data, goes through it row by row and changes a row e together with e', the row
    of the copy nearest to it. With ``probability`` for each attribute, a ``nominal`` one (given by its column) is
    swapped between the two, and a continuous one is drawn anew in both: e_a from Normal(e'_a, d / variance) and e'_a
    from Normal(e_a, d / variance), where d = |e_a - e'_a| and the second number is a standard deviation. So a larger
    ``variance`` (the paper's local variance parameter s) means less of it; at infinity all are swapped.

    Nearest is by Euclidean distance, with continuous attributes scaled to [0, 1] and nominal ones 0 or 1 apart. Of
    equally near rows it is the first. Draws may lie outside of the data's range: round and clip where that matters. A
    pass takes N^2 * A steps; each has a random stream of its own, so that more passes keep the first ones as they are.

    Raises ``DataError`` unless features are finite numbers with at least 2 rows, and ``SettingsError`` for a
    multiplier below 1, a probability outside of [0, 1], a variance that is not above 0 or a column that is not there.
    Bucila et al. 2006, algorithm 1.
    """
    rows = _checked_rows(features)
    _check_settings(multiplier, probability, variance)
    swapped = _nominal_columns(nominal, rows.shape[1])
    passes = [
        _one_pass(rows, swapped, probability, variance, generator(seed, "munge", number))
        for number in range(multiplier)
    ]
    return np.concatenate(passes)


def _one_pass(rows: Floats, nominal: Bools, probability: float, variance: float, random: np.random.Generator) -> Floats:
    """A copy of the rows, each changed once together with its neighbor of that moment."""
    changed = rows.copy()
    ranges = np.ptp(rows, axis=0)
    scales = 1 / np.where(ranges > 0, ranges, 1)
    apart = np.empty_like(rows)  # made once: to allocate it for every row takes longer than to fill it
    for here in range(len(changed)):
        there = _nearest(changed, here, scales, nominal, apart)
        one, other = changed[here].copy(), changed[there].copy()
        spread = np.abs(one - other) / variance
        spread[nominal] = 0  # drawn with no spread, the two values are swapped
        drawn = random.random(len(spread)) < probability
        noise = spread * random.standard_normal((2, len(spread)))
        changed[here] = np.where(drawn, other + noise[0], one)
        changed[there] = np.where(drawn, one + noise[1], other)
    return changed


def _nearest(rows: Floats, here: int, scales: Floats, nominal: Bools, apart: Floats) -> int:
    """The row nearest to the row ``here`` among the others; the differences are written to ``apart``."""
    np.subtract(rows, rows[here], out=apart)
    np.multiply(apart, scales, out=apart)
    apart[:, nominal] = rows[:, nominal] != rows[here, nominal]
    squares = np.einsum("na,na->n", apart, apart)
    squares[here] = np.inf
    return int(squares.argmin())


def _checked_rows(features: npt.ArrayLike) -> Floats:
    given = np.asarray(features)
    if given.ndim != 2 or given.dtype.kind not in "biuf":
        raise DataError(
            f"The features are {given.dtype} of shape {given.shape}, and they are numbers of shape [N, A], a row for "
            "each example and a column for each attribute. Number the values of nominal attributes."
        )
    if given.shape[0] < 2 or given.shape[1] < 1:
        raise DataError(
            f"The features have the shape {given.shape}, and at least 2 rows and 1 column are needed: every row is "
            "changed together with another one. Give more."
        )
    rows = given.astype(np.float64)
    finite = np.isfinite(rows)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise DataError(
            f"The features have {rows[row, column]} in row {row}, column {column}, and only finite numbers have a "
            "distance. Fill such places in or leave their rows out."
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
    """Which of the columns are nominal: bool [A]."""
    chosen = np.zeros(columns, np.bool_)
    for column in nominal:
        if not 0 <= column < columns:
            raise SettingsError(f"nominal names column {column}; the features have columns 0 to {columns - 1}.")
        chosen[column] = True
    return chosen
