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
from noisystudent.errors import SettingsError
from noisystudent.noise.input import InputNoise
from noisystudent.noise.mixing import Mixing, partners
from noisystudent.noise.own import OwnNoise
from noisystudent.runtime.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Views:
    """Which pictures a step shows and by which draws, int64 [B] each: enough to see its input noise again.

    ``rows`` are places in the pool, ``epochs`` and ``positions`` the address of each picture's draws.
    """

    rows: Tensor
    epochs: Tensor
    positions: Tensor

    def take(self, places: Tensor) -> Views:
        """Those at ``places`` (int64 [M]) of the batch, in that order."""
        return Views(self.rows[places.to(self.rows.device)], self.epochs[places], self.positions[places])


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


@dataclass(frozen=True)
class Division:
    """How a batch is divided: each process of ``ranks`` takes its share of it, in ``pieces`` one after another."""

    ranks: Ranks = ALONE
    pieces: int = 1

    @property
    def count(self) -> int:
        """Into how many a batch is divided."""
        return self.ranks.count * self.pieces

    def check(self, parts: Sequence[Part]) -> None:
        """Raises ``SettingsError`` unless every part's pictures can be divided evenly."""
        for part in parts:
            if part.count % self.count:
                raise SettingsError(
                    f"a step has {part.count} {part.name} pictures, which {self.ranks.count} processes in "
                    f"{self.pieces} pieces each cannot share evenly; change train.batch_size, train.ratio or "
                    f"train.accumulate so that {self.count} divides the pictures of each part."
                )

    def places(self, parts: Sequence[Part], piece: int) -> Tensor:
        """The places in the whole batch that this process takes in ``piece``, parts one after another, int64 [M]."""
        first = self.ranks.rank * self.pieces + piece
        starts = np.cumsum([0, *(part.count for part in parts)])
        taken = [start + np.arange(first, part.count, self.count) for start, part in zip(starts, parts, strict=False)]
        return torch.from_numpy(np.concatenate(taken))


WHOLE = Division()


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
        division: Division = WHOLE,
    ) -> None:
        """``targets`` float32 [N, K] has a row for every picture of the pool; the first part is the labeled one.

        ``own_noise`` acts after ``noise``, ``mixing`` last. Raises ``SettingsError`` when the parts cannot be divided
        evenly by ``division``.
        """
        division.check(parts)
        self.pool, self.targets = pool, targets
        self.noise, self.own_noise, self.mixing = noise, own_noise, mixing
        self.parts, self.division = tuple(parts), division
        self._orders = [Order(part.rows, seed=seed, stream=part.name) for part in parts]
        # Copies of one picture are different positions, so each gets noise of its own; parts must not overlap either.
        self._first_position = np.cumsum([0, *(len(part.rows) for part in parts)])

    @property
    def size(self) -> int:
        """Pictures a step, of all processes and pieces."""
        return sum(part.count for part in self.parts)

    def __call__(self, turn: int) -> Batch:
        """What this process trains on in its ``turn`` (0-based): a piece of a step's batch, or all of it."""
        step, piece = divmod(turn, self.division.pieces)
        views = self.views(step)
        labeled = self.parts[0].count // self.division.count
        if self.own_noise or self.mixing:  # what acts on whole batches is shown the whole
            return self._share(*self._whole(views, step), piece, labeled)
        if self.division.count > 1:
            views = views.take(self.division.places(self.parts, piece))
        return Batch(self.look(views), self.targets[views.rows], labeled)

    def _whole(self, views: Views, step: int) -> tuple[Tensor, Tensor]:
        """The batch of all processes and pieces: pixels and targets."""
        pixels, targets = self.look(views), self.targets[views.rows]
        if self.own_noise:
            pixels = self.own_noise(pixels, step)
        if self.mixing:
            partner = partners([part.count for part in self.parts])
            pixels, targets = self.mixing(pixels, targets, partner, views.epochs, views.positions)
        return pixels, targets

    def _share(self, pixels: Tensor, targets: Tensor, piece: int, labeled: int) -> Batch:
        if self.division.count == 1:
            return Batch(pixels, targets, labeled)
        places = self.division.places(self.parts, piece).to(pixels.device)
        return Batch(pixels[places], targets[places], labeled)

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
