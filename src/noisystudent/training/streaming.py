"""A stream of images that do not fit into memory: decodes one window of shards at a time, and the next one ahead.

A step needs the images of one window, or of two at a border, while the window after them is being decoded. So at most
three windows are in memory. The samples are a function of the step alone, so a window can be dropped and decoded again
at any time, by any number of threads.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from noisystudent.training.loader import UNSHARDED, BatchSharding, Ints, RawBatch, SampleIndices, collate
from noisystudent.training.sampler import Window, WindowedSampler

_WINDOWS = 3  # largest number in memory: two that a step may need, and the next one


@dataclass(frozen=True)
class Loaded:
    """Samples of a shard: M different images in ``raw``, and the row in it of each requested sample, int64 [N]."""

    raw: RawBatch
    rows: Ints


Load = Callable[[int, Ints], Loaded]  # from a shard and positions within it (int64 [N], sorted, unique) to samples


@dataclass(frozen=True)
class _Shard:
    """A shard within a window: the sorted positions that this process shows, and the samples there."""

    positions: Ints
    loaded: Future[Loaded]


class ShardStream:
    """A stream of images that are decoded when needed, one window of shards after another."""

    def __init__(
        self,
        name: str,
        sampler: WindowedSampler,
        load: Load,
        count: int,
        device: torch.device,
        *,
        sharding: BatchSharding = UNSHARDED,
    ) -> None:
        """Makes the stream.

        Args:
            name: the name of the stream.
            sampler: the order of the samples.
            load: loads samples of a shard; called by another thread.
            count: samples per step, over all processes.
            device: the device of the batches.
            sharding: the split of a step's samples among processes and micro-batches.
        """
        self.name, self.count = name, count
        self._sampler, self._load = sampler, load
        self._device, self._sharding = device, sharding
        self._windows: dict[tuple[int, int], dict[int, _Shard]] = {}
        self._loader = ThreadPoolExecutor(1)  # a source is read by one thread; decoding a shard takes several
        weakref.finalize(self, self._loader.shutdown, wait=False, cancel_futures=True)

    def __len__(self) -> int:
        return len(self._sampler)

    def indices(self, step: int) -> SampleIndices:
        """The samples in the batch of 0-based ``step``."""
        return SampleIndices(*self._sampler.batch(step, self.count))

    def fetch(self, indices: SampleIndices) -> RawBatch:
        """The images and targets at ``indices``, on the device; waits until they are decoded."""
        rows, parts = [], []
        for epoch in np.unique(indices.epochs).tolist():
            numbers = self._sampler.window_numbers(epoch, indices.positions)
            for number in np.unique(numbers[indices.epochs == epoch]).tolist():
                within = np.flatnonzero((indices.epochs == epoch) & (numbers == number))
                for part_rows, part in self._of_window(self._sampler.window(epoch, number), indices.positions, within):
                    rows.append(part_rows)
                    parts.append(part)
        return collate(parts).take(np.argsort(np.concatenate(rows))).to(self._device)

    def _of_window(self, window: Window, positions: Ints, within: Ints) -> list[tuple[Ints, RawBatch]]:
        """The samples at ``positions[within]``, all of one window: for each shard, rows of the batch and samples."""
        shards = self._open(window)
        self._open(self._sampler.window(window.epoch, window.number + 1))
        numbers = self._sampler.shards_of(positions[within])
        by_shard = []
        for number in np.unique(numbers).tolist():
            rows = within[numbers == number]
            shard = shards[number]
            indices = np.searchsorted(shard.positions, positions[rows])
            assert np.array_equal(shard.positions[indices], positions[rows])
            loaded = shard.loaded.result()
            by_shard.append((rows, loaded.raw.take(loaded.rows[indices])))
        return by_shard

    def _open(self, window: Window) -> dict[int, _Shard]:
        """The shards of a window, whose decoding has started when this returns."""
        key = (window.epoch, window.number)
        if key not in self._windows:
            self._windows[key] = self._start_decoding(window)
            for oldest in list(self._windows)[:-_WINDOWS]:
                for shard in self._windows.pop(oldest).values():
                    shard.loaded.cancel()
        return self._windows[key]

    def _start_decoding(self, window: Window) -> dict[int, _Shard]:
        positions = np.sort(self._shown_here(window))
        shards = self._sampler.shards_of(positions)
        shards_of_window = {}
        for shard in np.unique(shards).tolist():
            in_shard = positions[shards == shard]
            loaded = self._loader.submit(self._load, shard, in_shard - self._sampler.starts[shard])
            shards_of_window[shard] = _Shard(in_shard, loaded)
        return shards_of_window

    def _shown_here(self, window: Window) -> Ints:
        """The positions of a window that this process shows."""
        positions, group = self._sampler.positions(window), self._sharding.group
        first = window.epoch * len(self) + self._sampler.start(window)
        rows = np.arange(first, first + len(positions)) % self.count  # of the batch
        shown: Ints = positions[rows % self._sharding.count // self._sharding.micro_batches == group.rank]
        return shown
