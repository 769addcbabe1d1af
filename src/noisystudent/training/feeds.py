"""Where a batch's pictures come from: a feed for the labeled and one for the pseudo-labeled, in memory or streamed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from noisystudent.data.images import Pictures
from noisystudent.training.sampler import Order

Ints = npt.NDArray[np.int64]

LABELED, PSEUDO = "labeled", "pseudo"  # the names of the feeds, by which their order is drawn


@dataclass(frozen=True)
class Views:
    """Some pictures of a feed, and by which draws they are noised: int64 [B] each, enough to see them again.

    ``positions`` are places in the feed, where copies of one picture are several, and ``epochs`` say how often the
    feed had been shown before.
    """

    epochs: Ints
    positions: Ints

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, places: Ints) -> Views:
        """Those at ``places`` (int64 [M]), in that order."""
        return Views(self.epochs[places], self.positions[places])


@dataclass(frozen=True)
class Food:
    """Pictures before noise: pixels uint8 [B, C, H, W] on a canvas, sizes int64 [B, 2], targets float32 [B, K]."""

    pixels: Tensor
    sizes: Tensor
    targets: Tensor

    def take(self, rows: Ints) -> Food:
        """Those in ``rows`` (int64 [M]), in that order."""
        chosen = torch.from_numpy(rows)
        return Food(self.pixels[chosen], self.sizes[chosen], self.targets[chosen])

    def to(self, device: torch.device) -> Food:
        """The same on another device."""
        return Food(self.pixels.to(device), self.sizes.to(device), self.targets.to(device))


class Feed(Protocol):
    """One group of pictures, of which every batch has ``count``; its length is how many positions an epoch has."""

    @property
    def name(self) -> str:
        """What its pictures are called."""

    @property
    def count(self) -> int:
        """Pictures a step."""

    def __len__(self) -> int: ...

    def views(self, step: int) -> Views:
        """Which pictures the batch of 0-based ``step`` shows; every epoch has every position once."""

    def fetch(self, views: Views) -> Food:
        """The pictures and their targets, on the device; the same for the same views."""


@dataclass(frozen=True)
class Pool:
    """Decoded pictures on the device: pixels uint8 [N, C, H, W] on a common canvas, valid sizes int64 [N, 2]."""

    pixels: Tensor
    sizes: Tensor

    def __len__(self) -> int:
        return len(self.pixels)


def make_pool(sources: Sequence[Pictures], device: torch.device) -> Pool:
    """Puts several sources' pictures one after another on one canvas, large enough for all, on the device."""
    height = max(pictures.pixels.shape[2] for pictures in sources)
    width = max(pictures.pixels.shape[3] for pictures in sources)
    shape = (sum(map(len, sources)), sources[0].pixels.shape[1], height, width)
    pixels = torch.zeros(shape, dtype=torch.uint8, device=device)
    first = 0
    for pictures in sources:
        place = pixels[first : first + len(pictures), :, : pictures.pixels.shape[2], : pictures.pixels.shape[3]]
        place.copy_(torch.from_numpy(pictures.pixels))
        first += len(pictures)
    sizes = torch.cat([torch.from_numpy(pictures.sizes.astype(np.int64)) for pictures in sources])
    return Pool(pixels, sizes.to(device))


class PoolFeed:
    """Pictures that lie decoded on the device, each as often as ``rows`` names it."""

    def __init__(self, name: str, pool: Pool, targets: Tensor, rows: Ints, count: int, *, seed: int) -> None:
        """``targets`` float32 [N, K] has a row for every picture of the pool; ``rows`` int64 [M], M at least 1."""
        self.name, self.count = name, count
        self.pool, self.targets, self.rows = pool, targets, rows
        self._order = Order(len(rows), seed=seed, stream=name)

    def __len__(self) -> int:
        return len(self.rows)

    def views(self, step: int) -> Views:
        """Which pictures the batch of 0-based ``step`` shows."""
        return Views(*self._order.batch(step, self.count))

    def fetch(self, views: Views) -> Food:
        """The pictures and their targets, gathered on the device."""
        rows = torch.from_numpy(self.rows[views.positions]).to(self.pool.pixels.device)
        return Food(self.pool.pixels.index_select(0, rows), self.pool.sizes[rows], self.targets[rows])


def together(food: Sequence[Food]) -> Food:
    """Several feeds' pictures one after another, on a canvas that is large enough for all."""
    if len(food) == 1:
        return food[0]
    height, width = (max(each.pixels.shape[axis] for each in food) for axis in (2, 3))
    return Food(
        torch.cat([_on_canvas(each.pixels, height, width) for each in food]),
        torch.cat([each.sizes for each in food]),
        torch.cat([each.targets for each in food]),
    )


def _on_canvas(pixels: Tensor, height: int, width: int) -> Tensor:
    missing = (0, width - pixels.shape[3], 0, height - pixels.shape[2])
    return F.pad(pixels, missing) if any(missing) else pixels
