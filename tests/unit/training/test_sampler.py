"""Samplers: the order of the samples is a pure function of seed, stream and step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisystudent.training.sampler import ShuffleSampler, WindowedSampler

counts = st.integers(1, 40)
sizes = st.integers(1, 60)


def draw(sampler: ShuffleSampler | WindowedSampler, steps: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Epochs and positions of the first steps, joined."""
    batches = [sampler.batch(step, size) for step in range(steps)]
    epochs, positions = (np.concatenate(column) for column in zip(*batches, strict=True))
    return epochs, positions


@given(counts, sizes, st.integers(1, 12), st.integers(0, 3))
def test_every_epoch_has_every_position_once(count, size, steps, seed):
    epochs, positions = draw(ShuffleSampler(count, seed=seed, stream="labeled"), steps, size)
    assert len(positions) == steps * size
    assert np.array_equal(epochs, np.arange(steps * size) // count)
    for epoch in range(steps * size // count):
        assert sorted(positions[epochs == epoch]) == list(range(count))
    unfinished = positions[epochs == steps * size // count]
    assert len(set(unfinished)) == len(unfinished)


@given(counts, sizes, st.lists(st.integers(0, 1000), min_size=1, max_size=20))
def test_steps_can_be_drawn_in_any_order(count, size, steps):
    reused = ShuffleSampler(count, seed=0, stream="x")
    for step in steps:
        fresh = ShuffleSampler(count, seed=0, stream="x").batch(step, size)
        for first, second in zip(reused.batch(step, size), fresh, strict=True):
            assert np.array_equal(first, second)
            assert first.dtype == np.int64
            assert first.shape == (size,)


@given(counts, st.integers(1, 8), st.integers(1, 8))
def test_the_sequence_does_not_depend_on_the_batch_size(count, first, second):
    sampler = ShuffleSampler(count, seed=4, stream="x")
    for left, right in zip(draw(sampler, second, first), draw(sampler, first, second), strict=True):
        assert np.array_equal(left, right)


def test_epochs_seeds_and_streams_have_different_orders():
    orders = [
        tuple(ShuffleSampler(100, seed=seed, stream=stream).batch(epoch, 100)[1])
        for seed in (0, 1)
        for stream in ("labeled", "pseudo")
        for epoch in (0, 1, 10**9)
    ]
    assert len(set(orders)) == len(orders)


def test_shuffling_is_uniform():
    orders = [ShuffleSampler(5, seed=0, stream="x").batch(epoch, 5)[1] for epoch in range(2000)]
    times = np.stack([np.bincount(column, minlength=5) for column in np.array(orders).T])
    assert np.abs(times - 400).max() < 5 * np.sqrt(400 * 0.8)  # five standard deviations


def test_at_most_two_permutations_are_cached(monkeypatch):
    drawn = []
    original = ShuffleSampler._permutation

    def counting(self, epoch):
        before = dict(self._permutations)
        result = original(self, epoch)
        if epoch not in before:
            drawn.append(epoch)
        assert len(self._permutations) <= 2
        return result

    monkeypatch.setattr(ShuffleSampler, "_permutation", counting)
    draw(ShuffleSampler(10, seed=0, stream="x"), 20, 7)
    assert drawn == list(range(14))


def test_samplers_need_at_least_one_position():
    assert len(ShuffleSampler(6, seed=0, stream="x")) == 6
    with pytest.raises(AssertionError):
        ShuffleSampler(0, seed=0, stream="x")
    with pytest.raises(AssertionError):
        WindowedSampler(np.zeros(3, np.int64), window=4, seed=0, stream="x")


def test_the_order_is_the_same_on_every_machine():
    """Philox and SHA-256 define the order; a change here would break resuming existing runs."""
    assert ShuffleSampler(8, seed=0, stream="labeled").batch(1, 6)[1].tolist() == [2, 4, 3, 2, 0, 6]


shard_counts = st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any).map(np.array)


@given(shard_counts, st.integers(1, 30), st.integers(1, 50), st.integers(1, 8))
def test_windows_have_every_position_once_per_epoch(counts, window, size, steps):
    sampler = WindowedSampler(counts, window=window, seed=1, stream="pseudo")
    total = counts.sum()
    assert len(sampler) == total
    epochs, positions = draw(sampler, steps, size)
    assert np.array_equal(epochs, np.arange(steps * size) // total)
    for epoch in range(steps * size // total):
        assert sorted(positions[epochs == epoch]) == list(range(total))


@given(shard_counts, st.integers(1, 30), st.integers(1, 50), st.lists(st.integers(0, 500), min_size=1, max_size=8))
def test_steps_of_windows_can_be_drawn_in_any_order(counts, window, size, steps):
    reused = WindowedSampler(counts, window=window, seed=1, stream="pseudo")
    for step in steps:
        fresh = WindowedSampler(counts, window=window, seed=1, stream="pseudo").batch(step, size)
        for first, second in zip(reused.batch(step, size), fresh, strict=True):
            assert np.array_equal(first, second)


@given(shard_counts, st.integers(1, 30), st.integers(0, 3))
def test_a_window_has_whole_shards_and_ends_before_the_next(counts, window, epoch):
    sampler = WindowedSampler(counts, window=window, seed=1, stream="pseudo")
    drawn = draw(sampler, epoch + 1, len(sampler))[1][epoch * len(sampler) :]
    shards = np.repeat(np.arange(len(counts)), counts)
    start, number, seen_shards = 0, 0, []
    while start < len(sampler):
        current = sampler.window(epoch, number)
        assert (current.epoch, sampler.start(current)) == (epoch, start)
        positions = sampler.positions(current)
        assert np.array_equal(drawn[start : start + len(positions)], positions)
        assert np.array_equal(np.unique(shards[positions]), current.shards)
        assert np.array_equal(np.sort(positions), np.flatnonzero(np.isin(shards, current.shards)))
        assert (sampler.window_numbers(epoch, positions) == number).all()
        assert len(positions) < window + max(counts)
        start, number, seen_shards = start + len(positions), number + 1, [*seen_shards, *current.shards]
    assert sorted(seen_shards) == np.flatnonzero(counts).tolist()
    assert sampler.window(epoch, number).epoch == epoch + 1


def test_one_window_is_shuffled_uniformly_and_so_are_the_shards():
    first = [WindowedSampler(np.array([2, 2, 2]), window=99, seed=s, stream="x").batch(0, 1)[1][0] for s in range(3000)]
    assert np.abs(np.bincount(first, minlength=6) - 500).max() < 5 * np.sqrt(500 * 5 / 6)
    small = [
        WindowedSampler(np.array([2, 2, 2]), window=1, seed=s, stream="x").batch(0, 6)[1] // 2 for s in range(3000)
    ]
    orders = [tuple(shards[::2]) for shards in small]
    assert all(list(shards[::2]) == list(shards[1::2]) for shards in small)
    times = [orders.count(order) for order in set(orders)]
    assert len(times) == 6
    assert max(abs(count - 500) for count in times) < 5 * np.sqrt(500 * 5 / 6)
