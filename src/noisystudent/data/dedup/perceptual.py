"""Finds images that look the same although their pixels differ: recompressed, resized, or with other lighting.

The appearance of an image is its 63 lowest frequencies: the first 8 x 8 coefficients of the cosine transform of its
gray levels, without the mean. Two images are compared in two steps:

- by a *perceptual hash* of 64 bits, one per frequency: is it above the median of the 63? This is the DCT hash of
  Zauner, "Implementation and benchmarking of perceptual image hash functions" (2010), section 3.2, but of the image at
  its storage size instead of 32 px. Pairs whose hashes differ in few bits are candidates.
- by the correlation of the 63 frequencies, from -1 to 1, which decides.

The required correlation depends on the number of similar images. Photographs are so diverse that two with a correlation
of ``DUPLICATE_CORRELATION`` are the same image; plain trousers at 28 px all look alike. So if more than ``CROWD_SIZE``
candidates correlate with an image by ``CANDIDATE_CORRELATION``, they are a crowd: a kind of image rather than copies.
In a crowd, near-duplicates need a correlation of ``DUPLICATE_CORRELATION_IN_CROWD``. These numbers were chosen on the
images on which ``benchmarks/near_duplicates.py`` measures the error rates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noisystudent.data.images import Images

CANDIDATE_CORRELATION = 0.9
CROWD_SIZE = 4
DUPLICATE_CORRELATION = 0.98
DUPLICATE_CORRELATION_IN_CROWD = 0.9975
MIN_CONTRAST = 2.0  # in gray levels: flatter images have nothing to compare

_EDGE = 8  # frequencies per side
_CHUNK = 1024  # unlabeled images compared at once: at worst, all with each of 10,000, which is 10^7 candidates
_BLOCK = 64  # held-out hashes compared with a chunk at once, so that the results stay in the processor's cache
_CHUNK_BYTES = 2**25  # of float32 gray levels at once
_GRAY = (0.299, 0.587, 0.114)  # weights of red, green and blue, ITU-R BT.601

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class PerceptualHashes:
    """The appearance of N images: ``hashes`` [N], and ``frequencies`` float32 [N, 63] of norm 1 (0 for flat images)."""

    hashes: Hashes
    frequencies: Floats


@dataclass(frozen=True, eq=False)
class Pairs:
    """M pairs of an unlabeled and a held-out image, by row, and their correlation, each [M]."""

    unlabeled: Ints
    held_out: Ints
    correlation: Floats

    def take(self, chosen: npt.NDArray[np.generic]) -> Pairs:
        """The chosen pairs, by index or by mask."""
        return Pairs(self.unlabeled[chosen], self.held_out[chosen], self.correlation[chosen])


@dataclass(frozen=True, eq=False)
class Candidates:
    """Possible near-duplicates between part of the unlabeled set and the held-out images.

    ``pairs`` are near-duplicates unless the held-out image turns out to have a crowd. ``crowds`` (int64, one per
    held-out image) counts the similar images in this part.
    """

    pairs: Pairs
    crowds: Ints


def near_duplicates(unlabeled: Images, held_out: Images, distance: int) -> tuple[Ints, Ints]:
    """Finds the unlabeled images that look like a held-out image.

    Every pair is compared, 1024 unlabeled images at once, so 10^6 unlabeled and 10^4 held-out images take little memory
    and about a minute.

    Args:
        unlabeled: the images to search.
        held_out: the images to find.
        distance: largest number of bits, of 64, in which the hashes may differ.

    Returns:
        The rows of these unlabeled images, ascending, and the row of the most similar held-out image for each.
    """
    held_out_hashes = hash_images(held_out)
    starts = range(0, len(unlabeled), _CHUNK)
    parts = (
        find_candidates(
            unlabeled.take(np.arange(start, min(start + _CHUNK, len(unlabeled)))), held_out_hashes, distance
        )
        for start in starts
    )
    shifted = (
        Candidates(Pairs(part.pairs.unlabeled + start, part.pairs.held_out, part.pairs.correlation), part.crowds)
        for start, part in zip(starts, parts, strict=True)
    )
    merged = merge_candidates(shifted, len(held_out))
    return merged.unlabeled, merged.held_out


def find_candidates(images: Images, held_out: PerceptualHashes, distance: int) -> Candidates:
    """Compares part of the unlabeled images with all held-out ones, independently of the other parts."""
    hashes = hash_images(images)
    similar = _similar_pairs(hashes, held_out, distance)
    crowds = np.bincount(similar.unlabeled, minlength=len(hashes.hashes))
    in_crowd = crowds[similar.unlabeled] > CROWD_SIZE
    required = np.where(in_crowd, DUPLICATE_CORRELATION_IN_CROWD, DUPLICATE_CORRELATION)
    pairs = _best_first(similar.take(similar.correlation >= required))
    # A pair that suffices even in a crowd is final, so one per image is enough, however many there are.
    pairs = pairs.take(_is_first_of_image(pairs) | (pairs.correlation < DUPLICATE_CORRELATION_IN_CROWD))
    return Candidates(pairs, np.bincount(similar.held_out, minlength=len(held_out.hashes)))


def merge_candidates(parts: Iterable[Candidates], held_out: int) -> Pairs:
    """The near-duplicates in the whole unlabeled set: for each image, the pair with the highest correlation.

    Args:
        parts: the candidates of all parts; the unlabeled rows must ascend from part to part.
        held_out: number of held-out images.
    """
    crowds = np.zeros(held_out, np.int64)
    pairs = _joined()
    for part in parts:
        crowds += part.crowds
        pairs = _joined(pairs, part.pairs)
        # Crowds only grow, so a pair that a crowd rules out now stays ruled out.
        is_duplicate = (pairs.correlation >= DUPLICATE_CORRELATION_IN_CROWD) | (crowds[pairs.held_out] <= CROWD_SIZE)
        pairs = pairs.take(is_duplicate)
    return pairs.take(_is_first_of_image(pairs))


def _best_first(pairs: Pairs) -> Pairs:
    """The pairs in the order of the unlabeled rows; for each, the highest correlation first."""
    return pairs.take(np.lexsort((pairs.held_out, -pairs.correlation, pairs.unlabeled)))


def _is_first_of_image(pairs: Pairs) -> npt.NDArray[np.bool_]:
    is_first: npt.NDArray[np.bool_] = np.diff(pairs.unlabeled, prepend=-1) != 0
    return is_first


def hash_images(images: Images) -> PerceptualHashes:
    """The hashes and frequencies of images of any size, at least 8 px."""
    frequencies = np.zeros((len(images), _EDGE * _EDGE - 1), np.float32)
    for rows, gray in _gray_levels(images):
        transformed = _cosines(gray.shape[1]) @ gray @ _cosines(gray.shape[2]).T
        frequencies[rows] = transformed.reshape(len(rows), -1)[:, 1:]
    bits = np.zeros((len(images), _EDGE * _EDGE), bool)
    bits[:, 1:] = frequencies > np.median(frequencies, axis=1, keepdims=True)
    norm = np.linalg.norm(frequencies, axis=1, keepdims=True)
    frequencies /= np.where(norm < MIN_CONTRAST, np.inf, norm)
    return PerceptualHashes(np.packbits(bits, axis=1).view(np.uint64)[:, 0], frequencies)


def _gray_levels(images: Images) -> Iterator[tuple[Ints, Floats]]:
    """Groups images by size: their rows, and their gray levels without the rest of the canvas, float32 [n, H, W]."""
    sizes, group = np.unique(images.sizes, axis=0, return_inverse=True)
    for number, (height, width) in enumerate(sizes):
        rows = np.flatnonzero(group.reshape(-1) == number)
        step = max(1, int(_CHUNK_BYTES / (4 * height * width)))
        for start in range(0, len(rows), step):
            chunk = rows[start : start + step]
            pixels = images.pixels[chunk, :, :height, :width]
            if pixels.shape[1] == 1:
                yield chunk, pixels[:, 0].astype(np.float32)
            else:
                gray = np.zeros((len(chunk), height, width), np.float32)
                for channel, weight in enumerate(_GRAY):
                    gray += np.float32(weight) * pixels[:, channel]
                yield chunk, gray


def _cosines(length: int) -> Floats:
    """The first eight cosines over ``length`` pixels: float32 [8, length], each with a mean square of 1 / length^2."""
    positions = (np.arange(length) + 0.5) / length
    cosines = np.cos(np.pi * np.arange(_EDGE)[:, None] * positions) / length
    cosines[1:] *= np.sqrt(2)
    return cosines.astype(np.float32)


def _similar_pairs(unlabeled: PerceptualHashes, held_out: PerceptualHashes, distance: int) -> Pairs:
    """The pairs whose hashes differ in at most ``distance`` bits and that reach ``CANDIDATE_CORRELATION``."""
    parts = []
    differing_bits = np.empty((_BLOCK, len(unlabeled.hashes)), np.uint64)
    distances = np.empty(differing_bits.shape, np.uint8)
    for start in range(0, len(held_out.hashes), _BLOCK):
        block = held_out.hashes[start : start + _BLOCK]
        np.bitwise_xor(block[:, None], unlabeled.hashes, out=differing_bits[: len(block)])
        np.bitwise_count(differing_bits[: len(block)], out=distances[: len(block)])
        close = np.flatnonzero(distances[: len(block)] <= distance)
        if len(close):
            held_out_rows, unlabeled_rows = np.divmod(close, len(unlabeled.hashes))
            held_out_rows += start
            products = unlabeled.frequencies[unlabeled_rows] * held_out.frequencies[held_out_rows]
            pairs = Pairs(unlabeled_rows, held_out_rows, products.sum(axis=1))
            parts.append(pairs.take(pairs.correlation >= CANDIDATE_CORRELATION))
    return _joined(*parts)


def _joined(*parts: Pairs) -> Pairs:
    return Pairs(
        np.concatenate([np.zeros(0, np.int64), *(part.unlabeled for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.held_out for part in parts)]),
        np.concatenate([np.zeros(0, np.float32), *(part.correlation for part in parts)]),
    )
