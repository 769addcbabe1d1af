"""On what is measured: labeled images as the subject's views, shard by shard, each with a number of its own."""

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
from noisystudent.evaluation.natural.metrics import ClassMapping
from noisystudent.noise.crop import PlainView

_AT_ONCE = 512  # images that are viewed, and may be changed, at a time
_KEPT_BYTES = 2**28  # of decoded images that are kept from one pass to the next


@dataclass(frozen=True)
class EvalBatch:
    """Some images as they are looked at: uint8 views [N, C, S, S], true outputs and addresses (int64 [N]), keys."""

    views: Tensor
    labels: npt.NDArray[np.int64]
    index: Tensor
    keys: tuple[str, ...]


@dataclass(frozen=True)
class EvalDataset:
    """Labeled images, to be gone through again and again in order; ``count`` of them, unreadable ones too.

    ``found`` has the subject's output for each of their classes; without it labels are outputs already.
    ``max_corrupt_fraction`` is how large a share of unreadable ones is borne.
    """

    name: str
    fingerprint: str
    count: int
    shards: Callable[[], Iterator[Images]]
    found: ClassMapping | None = None
    max_corrupt_fraction: float = 0.0

    @classmethod
    def of_source(
        cls,
        source: Source,
        format: ImageFormat,
        found: ClassMapping | None = None,
        *,
        images: int = 0,
        max_corrupt_fraction: float = 0.0,
    ) -> EvalDataset:
        """A source, ``images`` of it, evenly spread, 0 = all; decoded anew at every pass unless it is small.

        So memory does not grow with it beyond 256 MiB. A pass raises ``DataError`` when more of them than
        ``max_corrupt_fraction`` cannot be read.
        """
        rows = sum(source.shard_sizes)
        most = min(images, rows) or rows
        taken = source if most == rows else SpreadSource(source, most)
        cache: list[Images] | None = [] if most * format.channels * format.storage_size**2 <= _KEPT_BYTES else None

        def shards() -> Iterator[Images]:
            if cache:
                yield from cache
                return
            failures: list[Failure] = []
            decoded = []
            for shard in range(len(taken.shard_sizes)):
                images = decode_shard(taken, shard, format)
                failures += images.failures
                check_failures(taken, failures, most, max_corrupt_fraction)
                if cache is not None:
                    decoded.append(images)
                yield images
            if cache is not None:
                cache.extend(decoded)

        identity = [source.fingerprint, format.size, format.channels, most, *(["whole"] if format.whole else [])]
        identity += [found.columns.tolist()] if found and not found.plain else []
        return cls(source.name, fingerprint_of(identity), most, shards, found, max_corrupt_fraction)

    @classmethod
    def of_images(cls, name: str, images: Images, *, most: int = 0, max_corrupt_fraction: float = 0.0) -> EvalDataset:
        """Images that are decoded already; ``most`` of them, evenly spread, 0 = all."""
        images = images.take(evenly_spread(len(images), most)) if most else images
        fingerprint = content_fingerprint(images)
        return cls(name, fingerprint, len(images), lambda: iter([images]), max_corrupt_fraction=max_corrupt_fraction)

    def batches(self, size: int, device: torch.device) -> Iterator[EvalBatch]:
        """The images as central views of ``size`` pixels on a device, some at a time.

        An image's address comes from its key, so its draws stay its own whatever it is shown with.
        """
        view = PlainView(size)
        for images in self.shards():
            for first in range(0, len(images), _AT_ONCE):
                some = images.take(np.arange(first, min(first + _AT_ONCE, len(images))))
                views = view(torch.from_numpy(some.pixels), torch.from_numpy(some.sizes.astype(np.int64)))
                index = torch.tensor([address_of(key) for key in some.keys], dtype=torch.int64)
                labels = self.found.columns[some.labels] if self.found else some.labels
                yield EvalBatch(views.to(device), labels, index.to(device), some.keys)


def address_of(key: str) -> int:
    """A number of 62 bits for an image's key, the same everywhere."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) >> 2
