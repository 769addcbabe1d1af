"""The labeled images that a model is evaluated on: views of the model's size, shard by shard."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noisystudent.artifacts.folder import fingerprint_of
from noisystudent.data.images import (
    Failure,
    ImageFormat,
    Images,
    check_failures,
    content_fingerprint,
    decode_shard,
)
from noisystudent.data.sample import SpreadSource, evenly_spread
from noisystudent.data.source import Source
from noisystudent.evaluation.class_mapping import ClassMapping
from noisystudent.noise.crop import PlainView

_BATCH_IMAGES = 512  # images in a batch, which may also be corrupted as a whole
_CACHED_BYTES = 2**28  # the largest decoded dataset that is kept in memory between passes


@dataclass(frozen=True)
class EvalBatch:
    """A batch of evaluated images.

    Attributes:
        views: the images as the model sees them, uint8 [N, C, S, S].
        labels: the model output of each true class, int64 [N].
        index: the address of each image (``address_of`` its key), which its random draws depend on, int64 [N].
        keys: the key of each image.
    """

    views: Tensor
    labels: npt.NDArray[np.int64]
    index: Tensor
    keys: tuple[str, ...]


@dataclass(frozen=True)
class EvalDataset:
    """Labeled images for evaluation, in a fixed order; they can be iterated many times.

    Attributes:
        name: the name of the source, for reports.
        fingerprint: identifies the images and the form in which they are evaluated.
        count: number of images, including unreadable ones.
        shards: starts a pass over the decoded images, shard by shard.
        mapping: the model output of each class of the images; None if labels already are outputs.
        max_corrupt_fraction: the largest tolerated fraction of unreadable images.
    """

    name: str
    fingerprint: str
    count: int
    shards: Callable[[], Iterator[Images]]
    mapping: ClassMapping | None = None
    max_corrupt_fraction: float = 0.0

    @classmethod
    def of_source(
        cls,
        source: Source,
        format: ImageFormat,
        mapping: ClassMapping | None = None,
        *,
        max_images: int = 0,
        max_corrupt_fraction: float = 0.0,
    ) -> EvalDataset:
        """Evaluates a source, or an evenly spread part of it.

        A small dataset is decoded once, a larger one in every pass, so that memory stays below 256 MiB. A pass raises
        ``DataError`` if the fraction of unreadable images exceeds ``max_corrupt_fraction``.

        Args:
            source: a labeled source.
            format: how its images are decoded.
            mapping: the model output of each of the source's classes; None if labels already are outputs.
            max_images: the largest number of images; 0 for all.
            max_corrupt_fraction: the largest tolerated fraction of unreadable images.

        Returns:
            The dataset; nothing is decoded yet.
        """
        rows = sum(source.shard_sizes)
        count = min(max_images, rows) or rows
        sample = source if count == rows else SpreadSource(source, count)
        cache: list[Images] | None = [] if count * format.channels * format.storage_size**2 <= _CACHED_BYTES else None

        def shards() -> Iterator[Images]:
            if cache:
                yield from cache
                return
            failures: list[Failure] = []
            decoded = []
            for shard in range(len(sample.shard_sizes)):
                images = decode_shard(sample, shard, format)
                failures += images.failures
                check_failures(sample, failures, count, max_corrupt_fraction)
                if cache is not None:
                    decoded.append(images)
                yield images
            if cache is not None:
                cache.extend(decoded)

        identity = [source.fingerprint, format.size, format.channels, count, *(["whole"] if format.whole else [])]
        identity += [] if format.whole else format.identity
        identity += [] if format.bits is None else [f"{format.bits} bits"]
        identity += [mapping.columns.tolist()] if mapping and not mapping.is_identity else []
        return cls(source.name, fingerprint_of(identity), count, shards, mapping, max_corrupt_fraction)

    @classmethod
    def of_images(
        cls, name: str, images: Images, *, max_images: int = 0, max_corrupt_fraction: float = 0.0
    ) -> EvalDataset:
        """Evaluates decoded images, or an evenly spread part of them; their labels are outputs of the model.

        Args:
            name: the name of the images, for reports.
            images: decoded images with labels.
            max_images: the largest number of images; 0 for all.
            max_corrupt_fraction: the largest tolerated fraction of unreadable images in other sets of the suite.

        Returns:
            The dataset.
        """
        images = images.take(evenly_spread(len(images), max_images)) if max_images else images
        fingerprint = content_fingerprint(images)
        return cls(name, fingerprint, len(images), lambda: iter([images]), max_corrupt_fraction=max_corrupt_fraction)

    def batches(self, view: PlainView, device: torch.device) -> Iterator[EvalBatch]:
        """Iterates over the images as central views, batch by batch.

        The address of an image depends only on its key, so its random draws do not depend on its batch.

        Args:
            view: the part of an image that the model sees.
            device: where the views and addresses are put.

        Yields:
            The batches in order; unreadable images are left out.
        """
        for images in self.shards():
            for first in range(0, len(images), _BATCH_IMAGES):
                part = images.take(np.arange(first, min(first + _BATCH_IMAGES, len(images))))
                views = view(torch.from_numpy(part.pixels), torch.from_numpy(part.sizes.astype(np.int64)))
                index = torch.tensor([address_of(key) for key in part.keys], dtype=torch.int64)
                labels = self.mapping.columns[part.labels] if self.mapping else part.labels
                yield EvalBatch(views.to(device), labels, index.to(device), part.keys)


def address_of(key: str) -> int:
    """A number of 62 bits that depends only on an image's key."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) >> 2
