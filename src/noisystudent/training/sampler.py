"""The order in which training sees its images: a pure function of seed, stream and step.

A *position* is a place in an epoch's list of images, in which copies of one image are several. Orders say for every
step which positions it shows and in which epoch; what lies there is not their business.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noisystudent.random_streams import generator

Ints = npt.NDArray[np.int64]


class ShuffleSampler:
    """An endless pass over ``count`` positions, reshuffled in every epoch.

    Nothing is remembered between calls but two permutations, kept because they are slow to draw again.
    """

    def __init__(self, count: int, *, seed: int, stream: str) -> None:
        assert count > 0
        self._count = count
        self._seed, self._stream = seed, stream
        self._permutations: dict[int, Ints] = {}

    def __len__(self) -> int:
        return self._count

    def batch(self, step: int, size: int) -> tuple[Ints, Ints]:
        """The epochs of a step's images and their positions, each int64 [size].

        With one ``size`` for all steps, every epoch has every position exactly once, and batches run on
        across its end. Position and epoch are what an image's noise is drawn by.
        """
        epochs, places = epochs_and_places(step, size, len(self))
        positions = np.empty(size, dtype=np.int64)
        for epoch in np.unique(epochs):
            within = epochs == epoch
            positions[within] = self._permutation(int(epoch))[places[within]]
        return epochs, positions

    def _permutation(self, epoch: int) -> Ints:
        permutation = self._permutations.get(epoch)
        if permutation is None:
            permutation = generator(self._seed, "order", self._stream, epoch).permutation(len(self))
            newest = dict(sorted(self._permutations.items())[-1:])
            self._permutations = newest | {epoch: permutation}
        return permutation


def epochs_and_places(step: int, size: int, count: int) -> tuple[Ints, Ints]:
    """In which epoch of ``count`` draws those of a step lie, and their places in it, each int64 [size]."""
    return np.divmod(np.arange(step * size, (step + 1) * size, dtype=np.int64), count)


@dataclass(frozen=True)
class Window:
    """Neighbors of an epoch: the shards whose positions are shuffled together, in ascending order."""

    epoch: int
    number: int
    shards: Ints


class WindowedSampler:
    """An endless pass over the positions of many shards, of which only a window is ever needed at a time.

    Each epoch takes the shards in a new order, a window of neighbors after the other, and shuffles the positions of
    each window. ``counts`` (int64 [S]) says how many positions each shard has: shard s has those that follow the
    shards before it. A window has about ``window`` positions, a whole number of shards. Nothing is remembered but
    two epochs' plans and two windows' shuffles, which are slow to draw again.
    """

    def __init__(self, counts: Ints, *, window: int, seed: int, stream: str) -> None:
        assert counts.sum() > 0
        assert window > 0
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        self._size = window
        self._seed, self._stream = seed, stream
        self._plans: dict[int, _Plan] = {}
        self._shuffles: dict[tuple[int, int], Ints] = {}

    def __len__(self) -> int:
        return int(self.starts[-1])

    def batch(self, step: int, size: int) -> tuple[Ints, Ints]:
        """The epochs of a step's images and their positions, each int64 [size], as ``ShuffleSampler`` has them."""
        epochs, places = epochs_and_places(step, size, len(self))
        positions = np.empty(size, dtype=np.int64)
        for epoch in np.unique(epochs):
            plan = self._plan(int(epoch))
            windows = np.searchsorted(plan.begins, places, side="right") - 1
            for number in np.unique(windows[epochs == epoch]):
                within = (epochs == epoch) & (windows == number)
                shuffled = self.positions(self.window(int(epoch), int(number)))
                positions[within] = shuffled[places[within] - plan.begins[number]]
        return epochs, positions

    def window(self, epoch: int, number: int) -> Window:
        """The ``number``-th window of an epoch; one beyond the last is the first of the next epoch."""
        plan = self._plan(epoch)
        if number == len(plan.windows):
            return self.window(epoch + 1, 0)
        return Window(epoch, number, plan.windows[number])

    def window_numbers(self, epoch: int, positions: Ints) -> Ints:
        """The number of the window in which an epoch shows each of the positions: int64 [N]."""
        return self._plan(epoch).window_of_shard[self.shards_of(positions)]

    def shards_of(self, positions: Ints) -> Ints:
        """The shard that has each of the positions: int64 [N]."""
        return np.searchsorted(self.starts, positions, side="right") - 1

    def positions(self, window: Window) -> Ints:
        """The positions of a window in the order in which they are shown."""
        key = (window.epoch, window.number)
        shuffled = self._shuffles.get(key)
        if shuffled is None:
            ranges = [np.arange(self.starts[shard], self.starts[shard + 1]) for shard in window.shards]
            random = generator(self._seed, "order", self._stream, "window", *key)
            shuffled = random.permutation(np.concatenate(ranges))
            newest = dict(sorted(self._shuffles.items())[-1:])
            self._shuffles = newest | {key: shuffled}
        return shuffled

    def place(self, window: Window) -> int:
        """How many draws of its epoch come before a window's."""
        return int(self._plan(window.epoch).begins[window.number])

    def _plan(self, epoch: int) -> _Plan:
        plan = self._plans.get(epoch)
        if plan is None:
            plan = self._planned(epoch)
            newest = dict(sorted(self._plans.items())[-1:])
            self._plans = newest | {epoch: plan}
        return plan

    def _planned(self, epoch: int) -> _Plan:
        counts = np.diff(self.starts)
        filled = np.flatnonzero(counts)
        order = generator(self._seed, "order", self._stream, "shards", epoch).permutation(filled)
        before = np.cumsum(counts[order]) - counts[order]
        cuts = np.flatnonzero(np.diff(before // self._size)) + 1
        window_of_shard = np.full(len(counts), -1, np.int64)
        windows = [np.sort(shards) for shards in np.split(order, cuts)]
        for number, shards in enumerate(windows):
            window_of_shard[shards] = number
        return _Plan(windows, before[np.concatenate([[0], cuts])], window_of_shard)


@dataclass(frozen=True)
class _Plan:
    """An epoch's windows, how many draws come before each, and the window of each shard (-1: it has no position)."""

    windows: list[Ints]
    begins: Ints
    window_of_shard: Ints
