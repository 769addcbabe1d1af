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
        drawn = [order.batch(step, part.count) for order, part in zip(self._orders, self.parts, strict=True)]
        rows = torch.from_numpy(np.concatenate([rows for rows, _, _ in drawn])).to(self.pool.pixels.device)
        # Draws are made on the CPU, where the noise groups pictures by operation without waiting for an accelerator.
        positions = torch.from_numpy(
            np.concatenate([first + each for first, (_, each, _) in zip(self._first_position, drawn, strict=False)])
        )
        epochs = torch.from_numpy(np.concatenate([epochs for _, _, epochs in drawn]))
        pixels = self.noise(self.pool.pixels.index_select(0, rows), self.pool.sizes[rows], epochs, positions)
        if self.own_noise:
            pixels = self.own_noise(pixels, step)
        targets = self.targets[rows]
        if self.mixing:
            partner = partners([part.count for part in self.parts])
            pixels, targets = self.mixing(pixels, targets, partner, epochs, positions)
        return Batch(pixels, targets, self.parts[0].count)
