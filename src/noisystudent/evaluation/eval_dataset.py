"""On what is measured: labeled pictures as the subject's views, shard by shard, each with a number of its own."""

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
    PictureFormat,
    Pictures,
    check_failures,
    content_fingerprint,
    decode_shard,
)
from noisystudent.data.sample import SpreadSource, evenly_spread
from noisystudent.data.source import Source
from noisystudent.evaluation.natural.metrics import ClassColumns
from noisystudent.noise.crop import PlainView

_AT_ONCE = 512  # pictures that are viewed, and may be changed, at a time
_KEPT_BYTES = 2**28  # of decoded pictures that are kept from one pass to the next


@dataclass(frozen=True)
class Sitting:
    """Some pictures as they are looked at: uint8 views [N, C, S, S], true outputs and addresses (int64 [N]), keys."""

    views: Tensor
    labels: npt.NDArray[np.int64]
    index: Tensor
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Audience:
    """Labeled pictures, to be gone through again and again in order; ``count`` of them, unreadable ones too.

    ``found`` has the subject's output for each of their classes; without it labels are outputs already.
    ``max_corrupt_fraction`` is how large a share of unreadable ones is borne.
    """

    name: str
    fingerprint: str
    count: int
    shards: Callable[[], Iterator[Pictures]]
    found: ClassColumns | None = None
    max_corrupt_fraction: float = 0.0

    @classmethod
    def of_source(
        cls,
        source: Source,
        format: PictureFormat,
        found: ClassColumns | None = None,
        *,
        pictures: int = 0,
        max_corrupt_fraction: float = 0.0,
    ) -> Audience:
        """A source, ``pictures`` of it, evenly spread, 0 = all; decoded anew at every pass unless it is small.

        So memory does not grow with it beyond 256 MiB. A pass raises ``DataError`` when more of them than
        ``max_corrupt_fraction`` cannot be read.
        """
        rows = sum(source.shard_sizes)
        most = min(pictures, rows) or rows
        taken = source if most == rows else SpreadSource(source, most)
        kept: list[Pictures] | None = [] if most * format.channels * format.stored_edge**2 <= _KEPT_BYTES else None

        def shards() -> Iterator[Pictures]:
            if kept:
                yield from kept
                return
            failures: list[Failure] = []
            decoded = []
            for shard in range(len(taken.shard_sizes)):
                pictures = decode_shard(taken, shard, format)
                failures += pictures.failures
                check_failures(taken, failures, most, max_corrupt_fraction)
                if kept is not None:
                    decoded.append(pictures)
                yield pictures
            if kept is not None:
                kept.extend(decoded)

        identity = [source.fingerprint, format.size, format.channels, most, *(["whole"] if format.whole else [])]
        identity += [found.columns.tolist()] if found and not found.plain else []
        return cls(source.name, fingerprint_of(identity), most, shards, found, max_corrupt_fraction)

    @classmethod
    def of_pictures(
        cls, name: str, pictures: Pictures, *, most: int = 0, max_corrupt_fraction: float = 0.0
    ) -> Audience:
        """Pictures that are decoded already; ``most`` of them, evenly spread, 0 = all."""
        pictures = pictures.take(evenly_spread(len(pictures), most)) if most else pictures
        fingerprint = content_fingerprint(pictures)
        return cls(
            name, fingerprint, len(pictures), lambda: iter([pictures]), max_corrupt_fraction=max_corrupt_fraction
        )

    def sittings(self, size: int, device: torch.device) -> Iterator[Sitting]:
        """The pictures as central views of ``size`` pixels on a device, some at a time.

        A picture's address comes from its key, so its draws stay its own whatever it is shown with.
        """
        view = PlainView(size)
        for pictures in self.shards():
            for first in range(0, len(pictures), _AT_ONCE):
                some = pictures.take(np.arange(first, min(first + _AT_ONCE, len(pictures))))
                views = view(torch.from_numpy(some.pixels), torch.from_numpy(some.sizes.astype(np.int64)))
                index = torch.tensor([address_of(key) for key in some.keys], dtype=torch.int64)
                labels = self.found.columns[some.labels] if self.found else some.labels
                yield Sitting(views.to(device), labels, index.to(device), some.keys)


def address_of(key: str) -> int:
    """A number of 62 bits for a picture's key, the same everywhere."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) >> 2
