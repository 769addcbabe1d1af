"""The order of training is a pure function of seed, stream and step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisystudent.data.loader import Order

counts = st.integers(1, 40)
sizes = st.integers(1, 60)


def draw(order: Order, steps: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, positions and epochs of the first steps, joined."""
    batches = [order.batch(step, size) for step in range(steps)]
    rows, positions, epochs = (np.concatenate(column) for column in zip(*batches, strict=True))
    return rows, positions, epochs


@given(counts, sizes, st.integers(1, 12), st.integers(0, 3))
def test_every_epoch_has_every_position_once(count, size, steps, seed):
    rows = np.arange(count) * 7 + 3
    drawn, positions, epochs = draw(Order(rows, seed=seed, stream="labeled"), steps, size)
    assert len(drawn) == steps * size
    assert np.array_equal(drawn, rows[positions])
    assert np.array_equal(epochs, np.arange(steps * size) // count)
    for epoch in range(steps * size // count):
        assert sorted(positions[epochs == epoch]) == list(range(count))
    unfinished = positions[epochs == steps * size // count]
    assert len(set(unfinished)) == len(unfinished)


@given(counts, sizes, st.lists(st.integers(0, 1000), min_size=1, max_size=20))
def test_any_step_can_be_asked_for_at_any_time(count, size, steps):
    rows = np.arange(count)
    lasting = Order(rows, seed=0, stream="x")
    for step in steps:
        fresh = Order(rows, seed=0, stream="x").batch(step, size)
        for first, second in zip(lasting.batch(step, size), fresh, strict=True):
            assert np.array_equal(first, second)
            assert first.dtype == np.int64
            assert first.shape == (size,)


@given(counts, st.integers(1, 8), st.integers(1, 8))
def test_the_sequence_does_not_depend_on_the_batch_size(count, first, second):
    order = Order(np.arange(count), seed=4, stream="x")
    for one, other in zip(draw(order, second, first), draw(order, first, second), strict=True):
        assert np.array_equal(one, other)


def test_epochs_seeds_and_streams_have_orders_of_their_own():
    rows = np.arange(100)
    orders = [
        tuple(Order(rows, seed=seed, stream=stream).batch(epoch, 100)[0])
        for seed in (0, 1)
        for stream in ("labeled", "pseudo")
        for epoch in (0, 1, 10**9)
    ]
    assert len(set(orders)) == len(orders)


def test_shuffling_is_uniform():
    orders = [Order(np.arange(5), seed=0, stream="x").batch(epoch, 5)[1] for epoch in range(2000)]
    times = np.stack([np.bincount(column, minlength=5) for column in np.array(orders).T])
    assert np.abs(times - 400).max() < 5 * np.sqrt(400 * 0.8)  # five standard deviations


def test_copies_of_a_row_have_positions_of_their_own():
    rows = np.array([9, 4, 9, 9])
    drawn, positions, epochs = Order(rows, seed=0, stream="pseudo").batch(0, 8)
    assert sorted(drawn[:4]) == [4, 9, 9, 9]
    assert len(set(zip(positions, epochs, strict=True))) == 8


def test_two_permutations_are_kept_and_no_more(monkeypatch):
    drawn = []
    original = Order._permutation

    def counting(self, epoch):
        before = dict(self._permutations)
        result = original(self, epoch)
        if epoch not in before:
            drawn.append(epoch)
        assert len(self._permutations) <= 2
        return result

    monkeypatch.setattr(Order, "_permutation", counting)
    draw(Order(np.arange(10), seed=0, stream="x"), 20, 7)
    assert drawn == list(range(14))


def test_rows_are_copied_and_must_be_there():
    rows = np.arange(6)
    order = Order(rows, seed=0, stream="x")
    assert len(order) == 6
    before = order.batch(0, 6)[0]
    rows[:] = -1
    assert np.array_equal(order.batch(0, 6)[0], before)
    with pytest.raises(AssertionError):
        Order(np.arange(0), seed=0, stream="x")


def test_the_order_is_the_same_on_every_machine():
    """Fixed by the definition of Philox and SHA-256: a change here breaks the resuming of existing runs."""
    assert Order(np.arange(8), seed=0, stream="labeled").batch(1, 6)[0].tolist() == [2, 4, 3, 2, 0, 6]
