"""Samplers: the order in which training sees its samples, as a pure function of seed, stream and step.

A *position* is an index in an epoch's list of samples, which has one entry per copy of an image. A sampler returns the
epoch and the position of every sample of a step; it does not know which image is at a position.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from noisystudent.random_streams import generator

Ints = npt.NDArray[np.int64]


class ShuffleSampler:
    """Samples ``count`` positions without replacement, and reshuffles them in every epoch, endlessly.

    The only state is a cache of two permutations, which are slow to draw again.
    """

    def __init__(self, count: int, *, seed: int, stream: str) -> None:
        assert count > 0
        self._count = count
        self._seed, self._stream = seed, stream
        self._permutations: dict[int, Ints] = {}

    def __len__(self) -> int:
        return self._count

    def batch(self, step: int, size: int) -> tuple[Ints, Ints]:
        """The epochs and the positions of a step's samples, each int64 [size].

        If all steps have the same ``size``, every epoch has every position exactly once, and batches continue across
        the end of an epoch. The noise of a sample depends on its epoch and position.
        """
        epochs, offsets = epochs_and_offsets(step, size, len(self))
        positions = np.empty(size, dtype=np.int64)
        for epoch in np.unique(epochs):
            within = epochs == epoch
            positions[within] = self._permutation(int(epoch))[offsets[within]]
        return epochs, positions

    def _permutation(self, epoch: int) -> Ints:
        permutation = self._permutations.get(epoch)
        if permutation is None:
            permutation = generator(self._seed, "order", self._stream, epoch).permutation(len(self))
            newest = dict(sorted(self._permutations.items())[-1:])
            self._permutations = newest | {epoch: permutation}
        return permutation


def epochs_and_offsets(step: int, size: int, count: int) -> tuple[Ints, Ints]:
    """The epochs of a step's samples and their offsets in the order of these epochs, each int64 [size].

    Args:
        step: the step, from 0.
        size: samples per step.
        count: samples per epoch.
    """
    return np.divmod(np.arange(step * size, (step + 1) * size, dtype=np.int64), count)


@dataclass(frozen=True)
class Window:
    """Consecutive shards of an epoch whose positions are shuffled together, in ascending order."""

    epoch: int
    number: int
    shards: Ints


class WindowedSampler:
    """Samples the positions of many shards so that only a window of shards is needed at a time, endlessly.

    Each epoch shuffles the shards, cuts their order into windows, and shuffles the positions of each window. The only
    state is a cache of the plans of two epochs and of two shuffled windows, which are slow to draw again.
    """

    def __init__(self, counts: Ints, *, window: int, seed: int, stream: str) -> None:
        """Makes the sampler.

        Args:
            counts: the number of positions of each shard, int64 [S]; the positions of a shard follow those of the
                shards before it.
            window: the approximate number of positions per window; a window has whole shards.
            seed: the seed of the run.
            stream: the name of the stream; streams of different names are shuffled independently.
        """
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
        """The epochs and the positions of a step's samples, each int64 [size], as in ``ShuffleSampler``."""
        epochs, offsets = epochs_and_offsets(step, size, len(self))
        positions = np.empty(size, dtype=np.int64)
        for epoch in np.unique(epochs):
            plan = self._plan(int(epoch))
            windows = np.searchsorted(plan.starts, offsets, side="right") - 1
            for number in np.unique(windows[epochs == epoch]):
                within = (epochs == epoch) & (windows == number)
                shuffled = self.positions(self.window(int(epoch), int(number)))
                positions[within] = shuffled[offsets[within] - plan.starts[number]]
        return epochs, positions

    def window(self, epoch: int, number: int) -> Window:
        """The window with this number in an epoch, from 0; the one after the last is the first of the next epoch."""
        plan = self._plan(epoch)
        if number == len(plan.windows):
            return self.window(epoch + 1, 0)
        return Window(epoch, number, plan.windows[number])

    def window_numbers(self, epoch: int, positions: Ints) -> Ints:
        """The number of the window that contains each position in an epoch, int64 [N]."""
        return self._plan(epoch).window_of_shard[self.shards_of(positions)]

    def shards_of(self, positions: Ints) -> Ints:
        """The shard that contains each position, int64 [N]."""
        return np.searchsorted(self.starts, positions, side="right") - 1

    def positions(self, window: Window) -> Ints:
        """The positions of a window, in shuffled order."""
        key = (window.epoch, window.number)
        shuffled = self._shuffles.get(key)
        if shuffled is None:
            ranges = [np.arange(self.starts[shard], self.starts[shard + 1]) for shard in window.shards]
            random = generator(self._seed, "order", self._stream, "window", *key)
            shuffled = random.permutation(np.concatenate(ranges))
            newest = dict(sorted(self._shuffles.items())[-1:])
            self._shuffles = newest | {key: shuffled}
        return shuffled

    def start(self, window: Window) -> int:
        """The offset of a window's first position in the order of its epoch."""
        return int(self._plan(window.epoch).starts[window.number])

    def _plan(self, epoch: int) -> _Plan:
        plan = self._plans.get(epoch)
        if plan is None:
            plan = self._make_plan(epoch)
            newest = dict(sorted(self._plans.items())[-1:])
            self._plans = newest | {epoch: plan}
        return plan

    def _make_plan(self, epoch: int) -> _Plan:
        counts = np.diff(self.starts)
        nonempty = np.flatnonzero(counts)
        order = generator(self._seed, "order", self._stream, "shards", epoch).permutation(nonempty)
        before = np.cumsum(counts[order]) - counts[order]
        cuts = np.flatnonzero(np.diff(before // self._size)) + 1
        window_of_shard = np.full(len(counts), -1, np.int64)
        windows = [np.sort(shards) for shards in np.split(order, cuts)]
        for number, shards in enumerate(windows):
            window_of_shard[shards] = number
        return _Plan(windows, before[np.concatenate([[0], cuts])], window_of_shard)


@dataclass(frozen=True)
class _Plan:
    """An epoch's windows, the offset of the first position of each, and the window of each shard (-1: it is empty)."""

    windows: list[Ints]
    starts: Ints
    window_of_shard: Ints
