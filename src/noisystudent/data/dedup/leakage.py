"""Which images of a pile are also held out, or look it: found a shard at a time, settled for the pile as a whole.

A shard's look is small and says nothing of other shards, so that looks can be made in any order, by anyone, and kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from noisystudent.data.dedup.perceptual import Found, Pairs, hash_images, look, settle
from noisystudent.data.images import Images


@dataclass(frozen=True)
class Excluded:
    """An unlabeled image that is left out because it is a held-out image, or looks like one."""

    key: str
    same_as: str
    found: Literal["identical", "near-duplicate"]


@dataclass(frozen=True)
class NearDuplicates:
    """What a shard has in common with one held-out source, as JSON can hold it.

    ``pairs`` are key, row of the held-out image and correlation; ``crowds`` row of the held-out image and how many
    images of the shard are alike.
    """

    pairs: list[tuple[str, int, float]]
    crowds: list[tuple[int, int]]


@dataclass(frozen=True)
class ShardMatches:
    """What a shard has in common with all held-out sources: identical images (both keys), and those that look it."""

    identical: list[tuple[str, str]]
    alike: list[NearDuplicates]


class DuplicateIndex:
    """What is sought in a pile: the images of one held-out source, which it does not show."""

    def __init__(self, held_out: Images, distance: int | Literal["none"]) -> None:
        """``distance`` is the largest one between perceptual hashes; none: only identical images are sought."""
        self._keys = held_out.keys
        self._digests: dict[str, str] = {}
        for digest, key in zip(held_out.digests, held_out.keys, strict=True):
            self._digests.setdefault(digest, key)
        self._distance = distance
        self._looks = None if distance == "none" else hash_images(held_out)

    def identical(self, images: Images) -> dict[str, str]:
        """The held-out key of each image that is also held out, by its own key."""
        pairs = zip(images.keys, images.digests, strict=True)
        return {key: self._digests[digest] for key, digest in pairs if digest in self._digests}

    def alike(self, images: Images) -> NearDuplicates:
        """What the images have in common with the held-out ones by their looks."""
        if self._looks is None or self._distance == "none":
            return NearDuplicates([], [])
        found = look(images, self._looks, self._distance)
        rows = zip(found.pairs.here.tolist(), found.pairs.there.tolist(), found.pairs.correlation.tolist(), strict=True)
        crowded = np.flatnonzero(found.crowds)
        return NearDuplicates(
            [(images.keys[here], there, correlation) for here, there, correlation in rows],
            list(zip(crowded.tolist(), found.crowds[crowded].tolist(), strict=True)),
        )

    def settled(self, parts: Iterable[NearDuplicates]) -> dict[str, str]:
        """The held-out key of each image of the pile that looks held out, by its own key, from all its shards."""
        seen: list[str] = []

        def found() -> Iterable[Found]:
            for part in parts:
                first = len(seen)
                seen.extend(dict.fromkeys(key for key, _, _ in part.pairs))
                place = {key: first + number for number, key in enumerate(seen[first:])}
                crowds = np.zeros(len(self._keys), np.int64)
                for row, count in part.crowds:
                    crowds[row] = count
                yield Found(
                    Pairs(
                        np.array([place[key] for key, _, _ in part.pairs], np.int64),
                        np.array([there for _, there, _ in part.pairs], np.int64),
                        np.array([correlation for _, _, correlation in part.pairs], np.float32),
                    ),
                    crowds,
                )

        same = settle(found(), len(self._keys))
        pairs = zip(same.here.tolist(), same.there.tolist(), strict=True)
        return {seen[here]: self._keys[there] for here, there in pairs}


def match_shard(images: Images, duplicate_indexes: Sequence[DuplicateIndex]) -> ShardMatches:
    """What images of a pile have in common with what is sought; identical ones do not count in any crowd."""
    identical: dict[str, str] = {}
    for index in duplicate_indexes:
        identical |= index.identical(images)
    rest = without(images, identical)
    return ShardMatches(list(identical.items()), [index.alike(rest) for index in duplicate_indexes])


def merge_matches(looks: Sequence[ShardMatches], duplicate_indexes: Sequence[DuplicateIndex]) -> list[Excluded]:
    """The images of the pile to leave out, from the looks at all its shards in order: identical ones first."""
    alike: dict[str, str] = {}
    for number, index in enumerate(duplicate_indexes):
        alike |= index.settled(each.alike[number] for each in looks)
    left_out = [Excluded(key, other, "identical") for each in looks for key, other in each.identical]
    return left_out + [Excluded(key, other, "near-duplicate") for key, other in alike.items()]


def without(images: Images, keys: Iterable[str]) -> Images:
    """The images but those of these keys, with the failures of all."""
    left_out = frozenset(keys)
    if not left_out:
        return images
    kept = [row for row, key in enumerate(images.keys) if key not in left_out]
    return replace(images.take(np.array(kept, np.int64)), failures=images.failures)
