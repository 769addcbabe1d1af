"""Images that look the same although their pixels differ: saved again, resized or lit otherwise.

What an image looks like is its 63 lowest frequencies: the first 8 x 8 coefficients of the cosine transform of its
gray levels, without the mean. Two are compared in two steps:

- by a *perceptual hash* of 64 bits, one a frequency: is it above the median of the 63? This is the DCT hash of Zauner,
  "Implementation and benchmarking of perceptual image hash functions" (2010), section 3.2, but on the image as it is
  stored, not on one brought to 32 px. Hashes that differ in few bits are candidates.
- by the correlation of the 63 numbers themselves, from -1 to 1: it decides.

How much correlation is enough depends on the company. Photographs are so diverse that two which correlate by ``SAME``
are one image; plain trousers at 28 px all look alike. So where more than ``CROWD`` candidates correlate by ``ALIKE``
with an image, they are taken for a kind, not for copies, and a correlation of ``SAME_IN_CROWD`` is needed. These
numbers were chosen on the images that ``benchmarks/near_duplicates.py`` measures the rates on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noisystudent.data.images import Images

ALIKE = 0.9
CROWD = 4
SAME = 0.98
SAME_IN_CROWD = 0.9975
FLAT = 2.0  # gray levels of contrast below which there is nothing to compare

_EDGE = 8  # frequencies a side
_CHUNK = 1024  # images of the pile compared at a time: at the worst, all with all of 10,000 are 10^7 candidates
_BLOCK = 64  # held-out hashes compared with a chunk at a time: what they are written to stays in the cache
_CHUNK_BYTES = 2**25  # of float32 gray levels at a time
_GRAY = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class PerceptualHashes:
    """What images look like: hashes [N], and frequencies float32 [N, 63] of length 1, or 0 where all is flat."""

    hashes: Hashes
    frequencies: Floats


@dataclass(frozen=True, eq=False)
class Pairs:
    """Images of the pile and of the held-out ones by row, and how they correlate, each [M]."""

    here: Ints
    there: Ints
    correlation: Floats

    def take(self, chosen: npt.NDArray[np.generic]) -> Pairs:
        """The chosen pairs, by place or by a mask."""
        return Pairs(self.here[chosen], self.there[chosen], self.correlation[chosen])


@dataclass(frozen=True, eq=False)
class Found:
    """What some images of the pile have in common with held-out ones: pairs that are the same unless in a crowd.

    ``crowds`` (int64, one for each held-out image) counts the images that are alike.
    """

    pairs: Pairs
    crowds: Ints


def near_duplicates(unlabeled: Images, held_out: Images, distance: int) -> tuple[Ints, Ints]:
    """Rows of the pile that look like a held-out image, in order, and the row of the one most like each.

    ``distance`` is the largest number of bits in which the hashes may differ. Every pair is compared, 1,024 images
    of the pile at a time, so that 10^6 beside 10^4 take little memory and about a minute.
    """
    there = hash_images(held_out)
    firsts = range(0, len(unlabeled), _CHUNK)
    found = (
        look(unlabeled.take(np.arange(first, min(first + _CHUNK, len(unlabeled)))), there, distance) for first in firsts
    )
    shifted = (
        Found(Pairs(each.pairs.here + first, each.pairs.there, each.pairs.correlation), each.crowds)
        for first, each in zip(firsts, found, strict=True)
    )
    same = settle(shifted, len(held_out))
    return same.here, same.there


def look(images: Images, held_out: PerceptualHashes, distance: int) -> Found:
    """Compares some images of the pile with all held-out ones, whatever else the pile holds."""
    here = hash_images(images)
    alike = _alike(here, held_out, distance)
    crowd_here = np.bincount(alike.here, minlength=len(here.hashes))
    enough = np.where(crowd_here[alike.here] > CROWD, SAME_IN_CROWD, SAME)
    same = _best_first(alike.take(alike.correlation >= enough))
    # A pair that counts even in a crowd stays, so one an image is enough, however many there are.
    same = same.take(_first_of_each(same) | (same.correlation < SAME_IN_CROWD))
    return Found(same, np.bincount(alike.there, minlength=len(held_out.hashes)))


def settle(parts: Iterable[Found], held_out: int) -> Pairs:
    """The pairs that stay when the crowds around the ``held_out`` images are known from all parts of the pile.

    Rows of the pile must rise from part to part. One pair an image: the most correlated.
    """
    crowds = np.zeros(held_out, np.int64)
    same = _joined()
    for part in parts:
        crowds += part.crowds
        same = _joined(same, part.pairs)
        # Crowds only grow, so who is lost in one now stays so.
        same = same.take((same.correlation >= SAME_IN_CROWD) | (crowds[same.there] <= CROWD))
    return same.take(_first_of_each(same))


def _best_first(pairs: Pairs) -> Pairs:
    """In the order of the pile, each image's most correlated pair first."""
    return pairs.take(np.lexsort((pairs.there, -pairs.correlation, pairs.here)))


def _first_of_each(pairs: Pairs) -> npt.NDArray[np.bool_]:
    first: npt.NDArray[np.bool_] = np.diff(pairs.here, prepend=-1) != 0
    return first


def hash_images(images: Images) -> PerceptualHashes:
    """The hashes and frequencies of images of any size from 8 px on."""
    frequencies = np.zeros((len(images), _EDGE * _EDGE - 1), np.float32)
    for rows, gray in _gray_levels(images):
        transformed = _cosines(gray.shape[1]) @ gray @ _cosines(gray.shape[2]).T
        frequencies[rows] = transformed.reshape(len(rows), -1)[:, 1:]
    bits = np.zeros((len(images), _EDGE * _EDGE), bool)
    bits[:, 1:] = frequencies > np.median(frequencies, axis=1, keepdims=True)
    length = np.linalg.norm(frequencies, axis=1, keepdims=True)
    frequencies /= np.where(length < FLAT, np.inf, length)
    return PerceptualHashes(np.packbits(bits, axis=1).view(np.uint64)[:, 0], frequencies)


def _gray_levels(images: Images) -> Iterator[tuple[Ints, Floats]]:
    """Rows of images of one size, and their gray levels without canvas: float32 [n, H, W]."""
    sizes, group = np.unique(images.sizes, axis=0, return_inverse=True)
    for number, (height, width) in enumerate(sizes):
        rows = np.flatnonzero(group.reshape(-1) == number)
        step = max(1, int(_CHUNK_BYTES / (4 * height * width)))
        for first in range(0, len(rows), step):
            part = rows[first : first + step]
            pixels = images.pixels[part, :, :height, :width]
            if pixels.shape[1] == 1:
                yield part, pixels[:, 0].astype(np.float32)
            else:
                gray = np.zeros((len(part), height, width), np.float32)
                for channel, weight in enumerate(_GRAY):
                    gray += np.float32(weight) * pixels[:, channel]
                yield part, gray


def _cosines(length: int) -> Floats:
    """The first eight cosines over ``length`` pixels: float32 [8, length], each with a mean square of 1 / length^2."""
    place = (np.arange(length) + 0.5) / length
    cosines = np.cos(np.pi * np.arange(_EDGE)[:, None] * place) / length
    cosines[1:] *= np.sqrt(2)
    return cosines.astype(np.float32)


def _alike(here: PerceptualHashes, there: PerceptualHashes, distance: int) -> Pairs:
    """The pairs whose hashes differ in at most ``distance`` bits and whose frequencies correlate by ``ALIKE``."""
    found = []
    bits = np.empty((_BLOCK, len(here.hashes)), np.uint64)
    differing = np.empty(bits.shape, np.uint8)
    for first in range(0, len(there.hashes), _BLOCK):
        block = there.hashes[first : first + _BLOCK]
        np.bitwise_xor(block[:, None], here.hashes, out=bits[: len(block)])
        np.bitwise_count(bits[: len(block)], out=differing[: len(block)])
        close = np.flatnonzero(differing[: len(block)] <= distance)
        if len(close):
            row_there, row_here = np.divmod(close, len(here.hashes))
            row_there += first
            products = here.frequencies[row_here] * there.frequencies[row_there]
            pairs = Pairs(row_here, row_there, products.sum(axis=1))
            found.append(pairs.take(pairs.correlation >= ALIKE))
    return _joined(*found)


def _joined(*parts: Pairs) -> Pairs:
    return Pairs(
        np.concatenate([np.zeros(0, np.int64), *(part.here for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.there for part in parts)]),
        np.concatenate([np.zeros(0, np.float32), *(part.correlation for part in parts)]),
    )
