"""Copies per selected row: which rows get one copy more than others, drawn without a list of rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from noisystudent.pseudo_labels.selection.counts import Quota
from noisystudent.pseudo_labels.selection.parts import Ints
from noisystudent.random_streams import generator

_ROUNDS = 6

Words = npt.NDArray[np.uint64]


class CopyAllocator:
    """Distributes the target count of each class over its selected rows as evenly as possible.

    Every selected row gets ``target_count // row_count`` copies. The remainder goes to rows drawn at random without
    replacement: the selected rows of a class, numbered in order, are permuted by a function of seed, round and class,
    and the first ones of the permutation get one copy more. So exactly the remainder is given out, and the drawn rows
    depend neither on how the rows are split into parts nor on which worker reads them.
    """

    def __init__(self, quota: Quota, seed: int, round_number: int) -> None:
        self._row_count = np.maximum(quota.row_count, 1)
        self._copies = quota.target_count // self._row_count
        self._remainder = quota.target_count - self._copies * quota.row_count
        shape = (_ROUNDS, len(quota.row_count))
        self._keys = generator(seed, "copies", round_number).integers(0, 2**64, shape, dtype=np.uint64)

    def copies(self, label: Ints, number: Ints) -> Ints:
        """Returns the copies of selected rows, int64 [N].

        Args:
            label: the class of each row, int64 [N].
            number: the number of each row among the selected rows of its class, from 0, int64 [N].
        """
        copies = self._copies[label]
        uneven = np.flatnonzero(self._remainder[label])
        label = label[uneven]
        permuted = permute(number[uneven], self._row_count[label], self._keys[:, label])
        copies[uneven] += permuted < self._remainder[label]
        return copies


def permute(number: Ints, count: Ints, keys: Words) -> Ints:
    """Applies a keyed permutation of 0 to ``count`` - 1 to ``number``, row by row.

    This is the generalized Feistel construction of Black and Rogaway, "Ciphers with arbitrary finite domains" (2002).
    A number is a row and a column of a table with barely more cells than numbers. Rows and columns are shifted
    alternately, each by a hash of the other. A result beyond the last number is permuted again until it is in range.

    Args:
        number: the numbers to permute, int64 [N].
        count: the size of each number's permutation, int64 [N].
        keys: the keys of each number's permutation, uint64 [rounds, N].

    Returns:
        The permuted numbers, int64 [N].
    """
    permuted = number.astype(np.uint64)
    limit = count.astype(np.uint64)
    width = np.ceil(np.sqrt(count)).astype(np.uint64)
    height = -(-count // width.astype(np.int64)).astype(np.uint64)
    pending = np.arange(len(permuted))
    while len(pending):
        permuted[pending] = _permute_cells(permuted[pending], width[pending], height[pending], keys[:, pending])
        pending = pending[permuted[pending] >= limit[pending]]
    return permuted.astype(np.int64)


def _permute_cells(number: Words, width: Words, height: Words, keys: Words) -> Words:
    row, column = number // width, number % width
    for round_number, key in enumerate(keys):
        if round_number % 2:
            row = (row + _hash(column ^ key)) % height
        else:
            column = (column + _hash(row ^ key)) % width
    return row * width + column


def _hash(word: Words) -> Words:
    """A 32-bit hash of each 64-bit word, by the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word >> np.uint64(32)
