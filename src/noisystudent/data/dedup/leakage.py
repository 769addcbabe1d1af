"""Which pictures of a pile are also held out, or look it: found a shard at a time, settled for the pile as a whole.

A shard's look is small and says nothing of other shards, so that looks can be made in any order, by anyone, and kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from noisystudent.data.dedup.perceptual import Found, Pairs, look, looks_of, settle
from noisystudent.data.images import Pictures


@dataclass(frozen=True)
class LeftOut:
    """An unlabeled picture that is left out because it is a held-out picture, or looks like one."""

    key: str
    same_as: str
    found: Literal["identical", "near-duplicate"]


@dataclass(frozen=True)
class Alike:
    """What a shard has in common with one held-out source, as JSON can hold it.

    ``pairs`` are key, row of the held-out picture and correlation; ``crowds`` row of the held-out picture and how many
    pictures of the shard are alike.
    """

    pairs: list[tuple[str, int, float]]
    crowds: list[tuple[int, int]]


@dataclass(frozen=True)
class Look:
    """What a shard has in common with all held-out sources: identical pictures (both keys), and those that look it."""

    identical: list[tuple[str, str]]
    alike: list[Alike]


class Search:
    """What is sought in a pile: the pictures of one held-out source, which it does not show."""

    def __init__(self, held_out: Pictures, distance: int | Literal["none"]) -> None:
        """``distance`` is the largest one between perceptual hashes; none: only identical pictures are sought."""
        self._keys = held_out.keys
        self._digests: dict[str, str] = {}
        for digest, key in zip(held_out.digests, held_out.keys, strict=True):
            self._digests.setdefault(digest, key)
        self._distance = distance
        self._looks = None if distance == "none" else looks_of(held_out)

    def identical(self, pictures: Pictures) -> dict[str, str]:
        """The held-out key of each picture that is also held out, by its own key."""
        pairs = zip(pictures.keys, pictures.digests, strict=True)
        return {key: self._digests[digest] for key, digest in pairs if digest in self._digests}

    def alike(self, pictures: Pictures) -> Alike:
        """What the pictures have in common with the held-out ones by their looks."""
        if self._looks is None or self._distance == "none":
            return Alike([], [])
        found = look(pictures, self._looks, self._distance)
        rows = zip(found.pairs.here.tolist(), found.pairs.there.tolist(), found.pairs.correlation.tolist(), strict=True)
        crowded = np.flatnonzero(found.crowds)
        return Alike(
            [(pictures.keys[here], there, correlation) for here, there, correlation in rows],
            list(zip(crowded.tolist(), found.crowds[crowded].tolist(), strict=True)),
        )

    def settled(self, parts: Iterable[Alike]) -> dict[str, str]:
        """The held-out key of each picture of the pile that looks held out, by its own key, from all its shards."""
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


def look_at(pictures: Pictures, searches: Sequence[Search]) -> Look:
    """What pictures of a pile have in common with what is sought; identical ones do not count in any crowd."""
    identical: dict[str, str] = {}
    for search in searches:
        identical |= search.identical(pictures)
    rest = without(pictures, identical)
    return Look(list(identical.items()), [search.alike(rest) for search in searches])


def settle_looks(looks: Sequence[Look], searches: Sequence[Search]) -> list[LeftOut]:
    """The pictures of the pile to leave out, from the looks at all its shards in order: identical ones first."""
    alike: dict[str, str] = {}
    for number, search in enumerate(searches):
        alike |= search.settled(each.alike[number] for each in looks)
    left_out = [LeftOut(key, other, "identical") for each in looks for key, other in each.identical]
    return left_out + [LeftOut(key, other, "near-duplicate") for key, other in alike.items()]


def without(pictures: Pictures, keys: Iterable[str]) -> Pictures:
    """The pictures but those of these keys, with the failures of all."""
    left_out = frozenset(keys)
    if not left_out:
        return pictures
    kept = [row for row, key in enumerate(pictures.keys) if key not in left_out]
    return replace(pictures.take(np.array(kept, np.int64)), failures=pictures.failures)
