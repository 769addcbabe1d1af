"""The unlabeled images of a run: decoded once into memory, or streamed and decoded each time they are needed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.folder import fingerprint_of
from noisystudent.data.dedup.leakage import Excluded, HeldOutSearch, without
from noisystudent.data.images import ImageFormat, Images, content_fingerprint, decode_shard
from noisystudent.data.source import Source, cut_shards, shard_slice
from noisystudent.errors import DataError

Ints = npt.NDArray[np.int64]


class UnlabeledData(Protocol):
    """The unlabeled set, read shard by shard, without the images that are also held out."""

    @property
    def fingerprint(self) -> str:
        """Identifies the images."""

    @property
    def left_out(self) -> list[Excluded]:
        """The images that are excluded because they are also held out."""

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """Upper bound on each shard's image count, including excluded and unreadable images."""

    def read(self, shard: int) -> Images:
        """The images of one shard, in order."""


@dataclass(frozen=True)
class InMemoryUnlabeled:
    """Unlabeled images decoded in memory; each shard has 1024 of those that are not left out."""

    images: Images
    left_out: list[Excluded]

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the images."""
        return content_fingerprint(self.images)

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """The number of images in each shard."""
        return cut_shards(len(self.images))

    def read(self, shard: int) -> Images:
        """The images of one shard."""
        return self.images.take(np.arange(len(self.images))[shard_slice(shard)])


@dataclass(frozen=True)
class StreamedUnlabeled:
    """Unlabeled images of a source larger than memory; the shards are those of the source."""

    source: Source
    format: ImageFormat
    left_out: list[Excluded]

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the images by their source, their format and the images that are left out."""
        bits = [] if self.format.bits is None else [self.format.bits]
        return fingerprint_of(
            [
                self.source.fingerprint,
                self.format.size,
                self.format.channels,
                sorted(self._excluded_keys),
                *bits,
                *self.format.identity,
            ]
        )

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """The number of rows in each shard, including excluded and unreadable images."""
        return self.source.shard_sizes

    def read(self, shard: int, only: Collection[str] | None = None) -> Images:
        """The images of one shard; if ``only`` is given, only the images with these keys are decoded."""
        choice = None if only is None else only.__contains__
        return without(decode_shard(self.source, shard, self.format, only=choice), self._excluded_keys)

    def read_rows(self, shard: int, rows: Ints) -> tuple[Images, Ints]:
        """The images of some rows of a shard, of which only these are decoded, and which image each row shows.

        A row that is left out or cannot be read shows the next one that is neither, after the last row the first. Where
        one cannot be read, the whole shard is decoded to tell.

        Args:
            shard: index of the shard.
            rows: numbers of the rows, int64 [N].

        Returns:
            The images, and for each of ``rows`` the index of its image, int64 [N]; no images where none can be shown.
        """
        choice = _RowChoice(rows, self._excluded_keys)
        images = decode_shard(self.source, shard, self.format, only=choice)
        if images.failures or choice.is_waiting or rows.max() >= len(choice.keys):
            images = self.read(shard)
        if not len(images):
            return images, rows[:0]
        numbers = {key: number for number, key in enumerate(choice.keys)}
        decoded = np.array([numbers[key] for key in images.keys], np.int64)  # ascending
        return images, np.searchsorted(decoded, rows) % len(decoded)

    def without(self, left_out: list[Excluded]) -> StreamedUnlabeled:
        """The same unlabeled set without the images in ``left_out``."""
        return replace(self, left_out=left_out)

    @cached_property
    def _excluded_keys(self) -> frozenset[str]:
        return frozenset(image.key for image in self.left_out)


class _RowChoice:
    """Says of the keys of a shard, in order, which to decode: those of the asked rows, else the next that may be shown.

    ``keys`` are those that were seen; ``is_waiting`` says that an asked row has found none by the end.
    """

    def __init__(self, rows: Ints, excluded: Collection[str]) -> None:
        self._rows, self._excluded = frozenset(rows.tolist()), excluded
        self.keys: list[str] = []
        self.is_waiting = False

    def __call__(self, key: str) -> bool:
        """Whether to decode the next row, whose key this is."""
        asked = self.is_waiting or len(self.keys) in self._rows
        self.keys.append(key)
        self.is_waiting = asked and key in self._excluded
        return asked and not self.is_waiting


def keep_unlabeled(images: Images, search: HeldOutSearch) -> InMemoryUnlabeled:
    """The decoded images without those that are also held out. Raises ``DataError`` if none is left."""
    left_out = search.in_unlabeled()
    check_some_left(len(images), left_out)
    return InMemoryUnlabeled(without(images, {image.key for image in left_out}), left_out)


def check_some_left(images: int, left_out: list[Excluded]) -> None:
    """Raises ``DataError`` if all ``images`` unlabeled images are left out."""
    if images and len(left_out) == images:
        near_duplicates = sum(image.found == "near-duplicate" for image in left_out)
        raise DataError(
            f"all {images} unlabeled images are also validation or test images ({near_duplicates} of them are "
            "near-duplicates, which data.near_duplicates none keeps); give other unlabeled images, because training "
            "must not see the held-out ones."
        )
