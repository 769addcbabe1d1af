"""The unlabeled images of a run: decoded once and kept, or decoded anew each time they are needed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from noisystudent.artifacts.folder import fingerprint_of
from noisystudent.data.dedup.leakage import DuplicateIndex, Excluded, match_shard, merge_matches, without
from noisystudent.data.images import ImageFormat, Images, content_fingerprint, decode_shard
from noisystudent.data.source import Source, cut_shards, shard_slice
from noisystudent.errors import DataError


class UnlabeledData(Protocol):
    """Unlabeled images, a shard at a time, without those that are held out."""

    @property
    def fingerprint(self) -> str:
        """Identifies the images."""

    @property
    def left_out(self) -> list[Excluded]:
        """The images that are not shown, since they are held out."""

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """Most images of each shard: those that are left out or cannot be read may be among them."""

    def read(self, shard: int) -> Images:
        """The images of one shard, in order."""


@dataclass(frozen=True)
class InMemoryUnlabeled:
    """Images that lie decoded in memory; shards are 1,024 of those that are not left out."""

    images: Images
    left_out: list[Excluded]

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the images."""
        return content_fingerprint(self.images)

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """Images of each shard."""
        return cut_shards(len(self.images))

    def read(self, shard: int) -> Images:
        """The images of one shard."""
        return self.images.take(np.arange(len(self.images))[shard_slice(shard)])


@dataclass(frozen=True)
class StreamedUnlabeled:
    """Images of a source that is larger than memory; shards are the source's own."""

    source: Source
    format: ImageFormat
    left_out: list[Excluded]

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the images by their source, their format and what is left out."""
        return fingerprint_of([self.source.fingerprint, self.format.size, self.format.channels, sorted(self._hidden)])

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """Images of each shard, with those that are left out or cannot be read."""
        return self.source.shard_sizes

    def read(self, shard: int, only: Collection[str] | None = None) -> Images:
        """The images of one shard, or only those of these keys; the others are not decoded."""
        return without(decode_shard(self.source, shard, self.format, only=only), self._hidden)

    def without(self, left_out: list[Excluded]) -> StreamedUnlabeled:
        """The pile without these images."""
        return replace(self, left_out=left_out)

    @cached_property
    def _hidden(self) -> frozenset[str]:
        return frozenset(each.key for each in self.left_out)


def keep_unlabeled(images: Images, duplicate_indexes: list[DuplicateIndex]) -> InMemoryUnlabeled:
    """The decoded images without those that are held out. Raises ``DataError`` when none is left."""
    whole = InMemoryUnlabeled(images, [])
    looks = (
        [match_shard(whole.read(shard), duplicate_indexes) for shard in range(len(whole.shard_sizes))]
        if duplicate_indexes
        else []
    )
    left_out = merge_matches(looks, duplicate_indexes)
    kept = without(images, {each.key for each in left_out})
    check_some_left(len(images), left_out)
    return InMemoryUnlabeled(kept, left_out)


def check_some_left(images: int, left_out: list[Excluded]) -> None:
    """Raises ``DataError`` when all of so many images are left out."""
    if images and len(left_out) == images:
        by_looks = sum(each.found == "near-duplicate" for each in left_out)
        raise DataError(
            f"all {images} unlabeled images are also validation or test images ({by_looks} of them by "
            "their looks, which data.near_duplicates none ignores); give others, or the held-out ones would be "
            "trained on."
        )
