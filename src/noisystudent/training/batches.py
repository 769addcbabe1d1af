"""What the loop is fed with: pictures on the device, target probabilities, and batches as a pure function of the step.

Nothing here has state, so a resumed stage sees the same pictures with the same noise in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noisystudent.data.loader import Order
from noisystudent.data.pictures import Pictures
from noisystudent.noise.input import InputNoise
from noisystudent.noise.mixing import Mixing, partners
from noisystudent.noise.own import OwnNoise


@dataclass(frozen=True)
class Views:
    """Which pictures a step shows and by which draws, int64 [B] each: enough to see its input noise again.

    ``rows`` are places in the pool, ``epochs`` and ``positions`` the address of each picture's draws.
    """

    rows: Tensor
    epochs: Tensor
    positions: Tensor


@dataclass(frozen=True)
class Batch:
    """One step's food: pixels uint8 [B, C, S, S] after input noise, targets float32 [B, K], labeled rows first."""

    pixels: Tensor
    targets: Tensor
    labeled: int


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


@dataclass(frozen=True)
class Part:
    """A batch's share from one group of rows: ``rows`` of the pool (copies repeated), ``count`` of them a step."""

    name: str
    rows: npt.NDArray[np.int64]
    count: int


class Batches:
    """Batches as a pure function of the step: the parts one after another, noised, with their targets."""

    def __init__(
        self,
        pool: Pool,
        targets: Tensor,
        parts: Sequence[Part],
        noise: InputNoise,
        *,
        seed: int,
        own_noise: OwnNoise | None = None,
        mixing: Mixing | None = None,
    ) -> None:
        """``targets`` float32 [N, K] has a row for every picture of the pool; the first part is the labeled one.

        ``own_noise`` acts after ``noise``, ``mixing`` last.
        """
        self.pool, self.targets = pool, targets
        self.noise, self.own_noise, self.mixing = noise, own_noise, mixing
        self.parts = tuple(parts)
        self._orders = [Order(part.rows, seed=seed, stream=part.name) for part in parts]
        # Copies of one picture are different positions, so each gets noise of its own; parts must not overlap either.
        self._first_position = np.cumsum([0, *(len(part.rows) for part in parts)])

    @property
    def size(self) -> int:
        """Pictures a step."""
        return sum(part.count for part in self.parts)

    def __call__(self, step: int) -> Batch:
        """The batch of 0-based ``step``."""
        views = self.views(step)
        pixels, targets = self.look(views), self.targets[views.rows]
        if self.own_noise:
            pixels = self.own_noise(pixels, step)
        if self.mixing:
            partner = partners([part.count for part in self.parts])
            pixels, targets = self.mixing(pixels, targets, partner, views.epochs, views.positions)
        return Batch(pixels, targets, self.parts[0].count)

    def views(self, step: int) -> Views:
        """Which pictures the batch of 0-based ``step`` shows, and by which draws."""
        drawn = [order.batch(step, part.count) for order, part in zip(self._orders, self.parts, strict=True)]
        rows, positions, epochs = (np.concatenate(each) for each in zip(*drawn, strict=True))
        starts = np.repeat(self._first_position[:-1], [part.count for part in self.parts])
        # Draws are made on the CPU, where the noise groups pictures by operation without waiting for an accelerator.
        return Views(
            torch.from_numpy(rows).to(self.pool.pixels.device),
            torch.from_numpy(epochs),
            torch.from_numpy(starts + positions),
        )

    def look(self, views: Views) -> Tensor:
        """The pictures under input noise, as often as asked the same: uint8 [B, C, S, S]."""
        rows = views.rows
        return self.noise(self.pool.pixels.index_select(0, rows), self.pool.sizes[rows], views.epochs, views.positions)
