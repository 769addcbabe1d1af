"""Finds training images that are also held out, or look like a held-out image: shard by shard, then merged.

The matches of a shard are small and independent of the other shards, so processes can compute them in any order and
store them as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from noisystudent.data.dedup.perceptual import Candidates, Pairs, find_candidates, hash_images, merge_candidates
from noisystudent.data.images import Images
from noisystudent.data.source import cut_shards, shard_slice


@dataclass(frozen=True)
class Excluded:
    """A labeled or unlabeled image that is left out because it is a held-out image, or looks like one.

    ``key`` is its own key, ``same_as`` the key of the held-out image, ``found`` how it was found.
    """

    key: str
    same_as: str
    found: Literal["identical", "near-duplicate"]


@dataclass(frozen=True)
class NearDuplicates:
    """The possible near-duplicates between one shard and one held-out source, in a form that JSON can store.

    ``pairs`` are (key, held-out row, correlation); ``crowds`` are (held-out row, number of similar images in
    the shard).
    """

    pairs: list[tuple[str, int, float]]
    crowds: list[tuple[int, int]]


@dataclass(frozen=True)
class ShardMatches:
    """The matches between one shard and all held-out sources.

    ``identical`` are (key, held-out key); ``alike`` has the possible near-duplicates per held-out source.
    """

    identical: list[tuple[str, str]]
    alike: list[NearDuplicates]


class DuplicateIndex:
    """Finds the images of one held-out source among others, without giving access to them."""

    def __init__(self, held_out: Images, distance: int | Literal["none"]) -> None:
        """Indexes ``held_out``.

        ``distance`` is the largest number of bits in which the perceptual hashes of near-duplicates may differ; none:
        the index finds only identical images.
        """
        self._keys = held_out.keys
        self._digests: dict[str, str] = {}
        for digest, key in zip(held_out.digests, held_out.keys, strict=True):
            self._digests.setdefault(digest, key)
        self._distance = distance
        self._hashes = None if distance == "none" else hash_images(held_out)

    def identical(self, images: Images) -> dict[str, str]:
        """The images with the pixels of a held-out image: held-out key by the image's key."""
        pairs = zip(images.keys, images.digests, strict=True)
        return {key: self._digests[digest] for key, digest in pairs if digest in self._digests}

    def near_duplicates(self, images: Images) -> NearDuplicates:
        """The possible near-duplicates between the images of one shard and the held-out images."""
        if self._hashes is None or self._distance == "none":
            return NearDuplicates([], [])
        candidates = find_candidates(images, self._hashes, self._distance)
        pairs = candidates.pairs
        rows = zip(pairs.unlabeled.tolist(), pairs.held_out.tolist(), pairs.correlation.tolist(), strict=True)
        crowded = np.flatnonzero(candidates.crowds)
        return NearDuplicates(
            [(images.keys[row], held_out_row, correlation) for row, held_out_row, correlation in rows],
            list(zip(crowded.tolist(), candidates.crowds[crowded].tolist(), strict=True)),
        )

    def merge_near_duplicates(self, shards: Iterable[NearDuplicates]) -> dict[str, str]:
        """The near-duplicates in a whole set, from those of all its shards: held-out key by key."""
        keys: list[str] = []

        def candidates() -> Iterable[Candidates]:
            for shard in shards:
                first = len(keys)
                keys.extend(dict.fromkeys(key for key, _, _ in shard.pairs))
                row_of = {key: first + number for number, key in enumerate(keys[first:])}
                crowds = np.zeros(len(self._keys), np.int64)
                for row, count in shard.crowds:
                    crowds[row] = count
                yield Candidates(
                    Pairs(
                        np.array([row_of[key] for key, _, _ in shard.pairs], np.int64),
                        np.array([held_out_row for _, held_out_row, _ in shard.pairs], np.int64),
                        np.array([correlation for _, _, correlation in shard.pairs], np.float32),
                    ),
                    crowds,
                )

        merged = merge_candidates(candidates(), len(self._keys))
        pairs = zip(merged.unlabeled.tolist(), merged.held_out.tolist(), strict=True)
        return {keys[row]: self._keys[held_out_row] for row, held_out_row in pairs}


def match_shard(images: Images, duplicate_indexes: Sequence[DuplicateIndex]) -> ShardMatches:
    """The matches between the images of one shard and the held-out images; identical images join no crowd."""
    identical: dict[str, str] = {}
    for index in duplicate_indexes:
        identical |= index.identical(images)
    rest = without(images, identical)
    return ShardMatches(list(identical.items()), [index.near_duplicates(rest) for index in duplicate_indexes])


def merge_matches(shards: Sequence[ShardMatches], duplicate_indexes: Sequence[DuplicateIndex]) -> list[Excluded]:
    """The images to leave out, identical images first.

    Args:
        shards: the matches of all shards, in order.
        duplicate_indexes: the indexes that ``match_shard`` used, in the same order.
    """
    near_duplicates: dict[str, str] = {}
    for number, index in enumerate(duplicate_indexes):
        near_duplicates |= index.merge_near_duplicates(shard.alike[number] for shard in shards)
    left_out = [Excluded(key, same_as, "identical") for shard in shards for key, same_as in shard.identical]
    return left_out + [Excluded(key, same_as, "near-duplicate") for key, same_as in near_duplicates.items()]


def match_all(images: Images, duplicate_indexes: Sequence[DuplicateIndex]) -> list[ShardMatches]:
    """The matches of decoded images, shard by shard; none without an index."""
    rows, shards = np.arange(len(images)), range(len(cut_shards(len(images))) if duplicate_indexes else 0)
    return [match_shard(images.take(rows[shard_slice(shard)]), duplicate_indexes) for shard in shards]


@dataclass(frozen=True)
class HeldOutSearch:
    """The indexes of held-out images, and the matches of the unlabeled images with them (none for streamed ones)."""

    duplicate_indexes: Sequence[DuplicateIndex] = ()
    unlabeled: Sequence[ShardMatches] = ()

    @classmethod
    def of(cls, duplicate_indexes: Sequence[DuplicateIndex], unlabeled: Images | None) -> HeldOutSearch:
        """Searches the decoded unlabeled images; None if there are none."""
        return cls(duplicate_indexes, match_all(unlabeled, duplicate_indexes) if unlabeled else ())

    def in_unlabeled(self) -> list[Excluded]:
        """The unlabeled images that are also held out."""
        return merge_matches(self.unlabeled, self.duplicate_indexes)

    def in_labeled(self, images: Images) -> list[Excluded]:
        """The labeled images that are also held out.

        Unlabeled images that look like a held-out one count as its crowd, too: labels are few, and alone would not show
        that a kind of image looks alike.
        """
        crowds = [
            ShardMatches([], [NearDuplicates([], near.crowds) for near in shard.alike]) for shard in self.unlabeled
        ]
        return merge_matches([*match_all(images, self.duplicate_indexes), *crowds], self.duplicate_indexes)


def without(images: Images, keys: Iterable[str]) -> Images:
    """The images without those with the given keys; all failures stay."""
    left_out = frozenset(keys)
    if not left_out:
        return images
    rows = [row for row, key in enumerate(images.keys) if key not in left_out]
    return replace(images.take(np.array(rows, np.int64)), failures=images.failures)
