"""The unlabeled pictures of a run: decoded once and kept, or decoded anew each time they are needed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from noisystudent.artifacts.folder import fingerprint_of
from noisystudent.data.dedup.leakage import LeftOut, Search, look_at, settle_looks, without
from noisystudent.data.images import PictureFormat, Pictures, content_fingerprint, decode_shard
from noisystudent.data.source import Source, cut_shards, shard_slice
from noisystudent.errors import DataError


class Pile(Protocol):
    """Unlabeled pictures, a shard at a time, without those that are held out."""

    @property
    def fingerprint(self) -> str:
        """Identifies the pictures."""

    @property
    def left_out(self) -> list[LeftOut]:
        """The pictures that are not shown, since they are held out."""

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """Most pictures of each shard: those that are left out or cannot be read may be among them."""

    def read(self, shard: int) -> Pictures:
        """The pictures of one shard, in order."""


@dataclass(frozen=True)
class KeptPile:
    """Pictures that lie decoded in memory; shards are 1,024 of those that are not left out."""

    pictures: Pictures
    left_out: list[LeftOut]

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the pictures."""
        return content_fingerprint(self.pictures)

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """Pictures of each shard."""
        return cut_shards(len(self.pictures))

    def read(self, shard: int) -> Pictures:
        """The pictures of one shard."""
        return self.pictures.take(np.arange(len(self.pictures))[shard_slice(shard)])


@dataclass(frozen=True)
class StreamedPile:
    """Pictures of a source that is larger than memory; shards are the source's own."""

    source: Source
    format: PictureFormat
    left_out: list[LeftOut]

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the pictures by their source, their format and what is left out."""
        return fingerprint_of([self.source.fingerprint, self.format.size, self.format.channels, sorted(self._hidden)])

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """Pictures of each shard, with those that are left out or cannot be read."""
        return self.source.shard_sizes

    def read(self, shard: int, only: Collection[str] | None = None) -> Pictures:
        """The pictures of one shard, or only those of these keys; the others are not decoded."""
        return without(decode_shard(self.source, shard, self.format, only=only), self._hidden)

    def without(self, left_out: list[LeftOut]) -> StreamedPile:
        """The pile without these pictures."""
        return replace(self, left_out=left_out)

    @cached_property
    def _hidden(self) -> frozenset[str]:
        return frozenset(each.key for each in self.left_out)


def keep_pile(pictures: Pictures, searches: list[Search]) -> KeptPile:
    """The decoded pictures without those that are held out. Raises ``DataError`` when none is left."""
    whole = KeptPile(pictures, [])
    looks = [look_at(whole.read(shard), searches) for shard in range(len(whole.shard_sizes))] if searches else []
    left_out = settle_looks(looks, searches)
    kept = without(pictures, {each.key for each in left_out})
    check_some_left(len(pictures), left_out)
    return KeptPile(kept, left_out)


def check_some_left(pictures: int, left_out: list[LeftOut]) -> None:
    """Raises ``DataError`` when all of so many pictures are left out."""
    if pictures and len(left_out) == pictures:
        by_looks = sum(each.found == "near-duplicate" for each in left_out)
        raise DataError(
            f"all {pictures} unlabeled pictures are also validation or test pictures ({by_looks} of them by "
            "their looks, which data.near_duplicates none ignores); give others, or the held-out ones would be "
            "trained on."
        )
