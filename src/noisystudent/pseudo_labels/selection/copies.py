"""Which rows get one copy more when a class's places do not divide evenly: a draw that needs no list of rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from noisystudent.pseudo_labels.selection.counts import Quota
from noisystudent.pseudo_labels.selection.parts import Ints
from noisystudent.random_streams import generator

_ROUNDS = 6

Words = npt.NDArray[np.uint64]


class Copies:
    """Spreads each class's places over its kept rows as evenly as they go.

    Every kept row gets places // take copies. The rest of the places goes to rows drawn at random without
    replacement: the kept rows of a class, numbered in order, are permuted (a function of seed, round and class), and
    those that come first win. So exactly the rest is given, and who wins depends neither on how the rows are cut
    into parts nor on who works on them.
    """

    def __init__(self, quota: Quota, seed: int, round_number: int) -> None:
        self._take = np.maximum(quota.take, 1)
        self._each = quota.places // self._take
        self._rest = quota.places - self._each * quota.take
        shape = (_ROUNDS, len(quota.take))
        self._keys = generator(seed, "copies", round_number).integers(0, 2**64, shape, dtype=np.uint64)

    def of(self, label: Ints, number: Ints) -> Ints:
        """Copies of kept rows: int64 [N], from their classes [N] and their numbers among their class's [N]."""
        copies = self._each[label]
        drawn = np.flatnonzero(self._rest[label])
        label = label[drawn]
        copies[drawn] += permuted(number[drawn], self._take[label], self._keys[:, label]) < self._rest[label]
        return copies


def permuted(number: Ints, count: Ints, keys: Words) -> Ints:
    """Where a keyed permutation of 0 to ``count`` - 1 puts ``number``: int64 [N], all by row; ``keys`` [rounds, N].

    The generalized Feistel construction of Black and Rogaway, "Ciphers with arbitrary finite domains" (2002): a
    number is a row and a column of a table that has barely more cells than numbers; rows and columns are shifted in
    turn, each by a hash of the other; who lands beyond the last number goes on until he does not.
    """
    found = number.astype(np.uint64)
    limit = count.astype(np.uint64)
    width = np.ceil(np.sqrt(count)).astype(np.uint64)
    height = -(-count // width.astype(np.int64)).astype(np.uint64)
    astray = np.arange(len(found))
    while len(astray):
        found[astray] = _shuffled(found[astray], width[astray], height[astray], keys[:, astray])
        astray = astray[found[astray] >= limit[astray]]
    return found.astype(np.int64)


def _shuffled(number: Words, width: Words, height: Words, keys: Words) -> Words:
    row, column = number // width, number % width
    for turn, key in enumerate(keys):
        if turn % 2:
            row = (row + _hashed(column ^ key)) % height
        else:
            column = (column + _hashed(row ^ key)) % width
    return row * width + column


def _hashed(word: Words) -> Words:
    """A 32-bit hash of each 64-bit word, by the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word >> np.uint64(32)
