"""Where a batch's pictures come from: a feed for the labeled and one for the pseudo-labeled, in memory or streamed.

What the loop is fed with: batches as a pure function of the step, put together from feeds and noised.

Nothing here has state that matters, so a resumed stage sees the same pictures with the same noise in the same order.
"""

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
from noisystudent.errors import SettingsError
from noisystudent.noise.custom import OwnNoise
from noisystudent.noise.input import InputNoise
from noisystudent.noise.mixing import Mixing, partners
from noisystudent.runtime.process_group import ALONE, Ranks
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


@dataclass(frozen=True)
class Batch:
    """One step's food: pixels uint8 [B, C, S, S] after input noise, targets float32 [B, K], labeled rows first.

    ``step`` is its 0-based step. ``teachers`` are the logits of M teachers, float32 [R, M, K], for the rows on which
    the objective needs them.
    """

    pixels: Tensor
    targets: Tensor
    labeled: int
    step: int
    teachers: Tensor | None = None


@dataclass(frozen=True)
class Division:
    """How a batch is divided: each process of ``ranks`` takes its share of it, in ``pieces`` one after another."""

    ranks: Ranks = ALONE
    pieces: int = 1

    @property
    def count(self) -> int:
        """Into how many a batch is divided."""
        return self.ranks.count * self.pieces

    def check(self, feeds: Sequence[Feed]) -> None:
        """Raises ``SettingsError`` unless every feed's pictures can be divided evenly."""
        for feed in feeds:
            if feed.count % self.count:
                raise SettingsError(
                    f"a step has {feed.count} {feed.name} pictures, which {self.ranks.count} processes in "
                    f"{self.pieces} pieces each cannot share evenly; change train.batch_size, train.ratio or "
                    f"train.accumulate so that {self.count} divides the pictures of each part."
                )

    def places(self, count: int, piece: int) -> Ints:
        """The places among a feed's ``count`` pictures of a step that this process takes in ``piece``: int64 [M]."""
        return np.arange(self.ranks.rank * self.pieces + piece, count, self.count)


WHOLE = Division()


class Batches:
    """Batches as a pure function of the step: the feeds' pictures one after another, noised, with their targets."""

    def __init__(
        self,
        feeds: Sequence[Feed],
        noise: InputNoise,
        *,
        own_noise: OwnNoise | None = None,
        mixing: Mixing | None = None,
        division: Division = WHOLE,
    ) -> None:
        """The feed named ``labeled``, if any, comes first; ``own_noise`` acts after ``noise``, ``mixing`` last.

        Raises ``SettingsError`` when the feeds' pictures cannot be divided evenly by ``division``.
        """
        division.check(feeds)
        self.feeds, self.division = tuple(feeds), division
        self.noise, self.own_noise, self.mixing = noise, own_noise, mixing
        # Copies of one picture are different positions, so each gets noise of its own; feeds must not overlap either.
        self._starts = [int(start) for start in np.cumsum([0, *(len(feed) for feed in feeds)])[:-1]]

    @property
    def size(self) -> int:
        """Pictures a step, of all processes and pieces."""
        return sum(feed.count for feed in self.feeds)

    def __call__(self, turn: int) -> Batch:
        """What this process trains on in its ``turn`` (0-based): a piece of a step's batch, or all of it."""
        step = turn // self.division.pieces
        if not self.own_noise and not self.mixing:
            pixels, targets = self.look(self.shown(turn))
        else:  # what acts on whole batches is shown the whole
            pixels, targets = self._whole(self.views(step), step)
            if self.division.count > 1:
                places = torch.from_numpy(self.places(turn)).to(pixels.device)
                pixels, targets = pixels[places], targets[places]
        return Batch(pixels, targets, self.labeled, step)

    @property
    def labeled(self) -> int:
        """How many pictures of a turn have labels; they come first."""
        return sum(feed.count for feed in self.feeds if feed.name == LABELED) // self.division.count

    def places(self, turn: int) -> Ints:
        """The places in the whole batch of a step that this process takes in its ``turn``: int64 [B]."""
        starts = np.cumsum([0, *(feed.count for feed in self.feeds)])
        own = [self._places(feed, turn) for feed in self.feeds]
        return np.concatenate([start + places for start, places in zip(starts, own, strict=False)])

    def shown(self, turn: int) -> tuple[Views, ...]:
        """Which pictures this process is shown in its ``turn``, and by which draws, feed by feed."""
        views = self.views(turn // self.division.pieces)
        if self.division.count == 1:
            return views
        return tuple(each.take(self._places(feed, turn)) for feed, each in zip(self.feeds, views, strict=True))

    def _places(self, feed: Feed, turn: int) -> Ints:
        return self.division.places(feed.count, turn % self.division.pieces)

    def views(self, step: int) -> tuple[Views, ...]:
        """Which pictures the batch of 0-based ``step`` shows, and by which draws, feed by feed."""
        return tuple(feed.views(step) for feed in self.feeds)

    def look(self, views: Sequence[Views]) -> tuple[Tensor, Tensor]:
        """The pictures under input noise, as often as asked the same: uint8 [B, C, S, S], and targets [B, K]."""
        food = together([feed.fetch(each) for feed, each in zip(self.feeds, views, strict=True)])
        return self.noise(food.pixels, food.sizes, *self._draws(views)), food.targets

    def _draws(self, views: Sequence[Views]) -> tuple[Tensor, Tensor]:
        """The address of each picture's draws, epochs and indices, int64 [B].

        They stay on the CPU, where the noise groups pictures by operation without waiting for an accelerator.
        """
        positions = [start + each.positions for start, each in zip(self._starts, views, strict=True)]
        epochs = np.concatenate([each.epochs for each in views])
        return torch.from_numpy(epochs), torch.from_numpy(np.concatenate(positions))

    def _whole(self, views: Sequence[Views], step: int) -> tuple[Tensor, Tensor]:
        """The batch of all processes and pieces: pixels and targets."""
        pixels, targets = self.look(views)
        if self.own_noise:
            pixels = self.own_noise(pixels, step)
        if self.mixing:
            partner = partners([feed.count for feed in self.feeds])
            pixels, targets = self.mixing(pixels, targets, partner, *self._draws(views))
        return pixels, targets
