"""A feed of pictures that do not fit into memory: decoded a window of shards at a time, the next one ahead.

A step needs the pictures of one window, or of two where it runs across their border, and the window behind them is
being decoded meanwhile: three are in memory at most. What is shown is a function of the step alone, so windows can be
forgotten and decoded again at any time, by however many threads.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from noisystudent.training.loader import WHOLE, Division, Food, Ints, Views, together
from noisystudent.training.sampler import Window, WindowOrder

_WINDOWS = 3  # in memory at most: two that a step may need, and the next


@dataclass(frozen=True)
class Loaded:
    """Pictures of a shard: food of M different ones, and which of them each asked-for place shows, int64 [N]."""

    food: Food
    rows: Ints


Load = Callable[[int, Ints], Loaded]  # of a shard, what lies at these of its places (int64 [N], sorted, each once)


@dataclass(frozen=True)
class _Shard:
    """What a window keeps of a shard: the positions that this process shows of it, sorted, and what lies there."""

    positions: Ints
    loaded: Future[Loaded]


class StreamFeed:
    """Pictures that are decoded when they are needed, shown a window of neighboring shards after the other."""

    def __init__(
        self, name: str, order: WindowOrder, load: Load, count: int, device: torch.device, *, division: Division = WHOLE
    ) -> None:
        """``load`` is called by another thread; ``division`` says which of a step's pictures are shown here."""
        self.name, self.count = name, count
        self._order, self._load = order, load
        self._device, self._division = device, division
        self._windows: dict[tuple[int, int], dict[int, _Shard]] = {}
        self._loader = ThreadPoolExecutor(1)  # a source is read by one thread; decoding a shard takes several
        weakref.finalize(self, self._loader.shutdown, wait=False, cancel_futures=True)

    def __len__(self) -> int:
        return len(self._order)

    def views(self, step: int) -> Views:
        """Which pictures the batch of 0-based ``step`` shows."""
        return Views(*self._order.batch(step, self.count))

    def fetch(self, views: Views) -> Food:
        """The pictures and their targets, on the device; waits until they are decoded."""
        places, food = [], []
        for epoch in np.unique(views.epochs).tolist():
            numbers = self._order.window_numbers(epoch, views.positions)
            for number in np.unique(numbers[views.epochs == epoch]).tolist():
                within = np.flatnonzero((views.epochs == epoch) & (numbers == number))
                for place, some in self._of_window(self._order.window(epoch, number), views.positions, within):
                    places.append(place)
                    food.append(some)
        return together(food).take(np.argsort(np.concatenate(places))).to(self._device)

    def _of_window(self, window: Window, positions: Ints, within: Ints) -> list[tuple[Ints, Food]]:
        """The food at the ``positions`` of a window, at places ``within``: a shard at a time, with its places."""
        shards = self._opened(window)
        self._opened(self._order.window(window.epoch, window.number + 1))
        numbers = self._order.shards_of(positions[within])
        found = []
        for shard in np.unique(numbers).tolist():
            places = within[numbers == shard]
            kept = shards[shard]
            at = np.searchsorted(kept.positions, positions[places])
            assert np.array_equal(kept.positions[at], positions[places])
            loaded = kept.loaded.result()
            found.append((places, loaded.food.take(loaded.rows[at])))
        return found

    def _opened(self, window: Window) -> dict[int, _Shard]:
        """A window's shards, which are being decoded at the latest from now on."""
        key = (window.epoch, window.number)
        if key not in self._windows:
            self._windows[key] = self._begun(window)
            for oldest in list(self._windows)[:-_WINDOWS]:
                for shard in self._windows.pop(oldest).values():
                    shard.loaded.cancel()
        return self._windows[key]

    def _begun(self, window: Window) -> dict[int, _Shard]:
        positions = np.sort(self._shown_here(window))
        shards = self._order.shards_of(positions)
        begun = {}
        for shard in np.unique(shards).tolist():
            own = positions[shards == shard]
            places = own - self._order.starts[shard]
            begun[shard] = _Shard(own, self._loader.submit(self._load, shard, places))
        return begun

    def _shown_here(self, window: Window) -> Ints:
        """The positions of a window that this process shows."""
        positions, ranks = self._order.positions(window), self._division.ranks
        first = window.epoch * len(self) + self._order.place(window)
        places = np.arange(first, first + len(positions)) % self.count
        shown: Ints = positions[places % self._division.count // self._division.pieces == ranks.rank]
        return shown
