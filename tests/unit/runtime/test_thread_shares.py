"""A batch that is split over threads gives the same result as one thread."""

from __future__ import annotations

import threading

import pytest
import torch

from noisystudent.runtime.thread_shares import map_in_threads


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def large_batch() -> torch.Tensor:
    """Ten rows of half a million values: enough for three shares."""
    return torch.arange(10, dtype=torch.int32)[:, None].repeat(1, 1 << 19)


@pytest.mark.usefixtures("three_threads")
def test_rows_keep_their_order():
    calls = []

    def double(rows: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        calls.append((rows[:, 0].tolist(), torch.get_num_threads(), threading.current_thread()))
        return rows[:, :1] * 2 + numbers[:, None]

    result = map_in_threads(double, large_batch(), torch.arange(10) * 100)
    assert result[:, 0].tolist() == [102 * row for row in range(10)]
    assert sorted(rows for rows, _, _ in calls) == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert {threads for _, threads, _ in calls} == {1}
    assert threading.main_thread() not in {thread for _, _, thread in calls}


@pytest.mark.usefixtures("three_threads")
def test_other_threads_keep_their_number_of_torch_threads():
    map_in_threads(torch.clone, large_batch())
    assert torch.get_num_threads() == 3
    counts = []
    thread = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert counts == [3]


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("batch", [torch.zeros(64, 3072), torch.zeros(1, 1 << 22), torch.zeros(0, 5)], ids=len)
def test_small_batches_are_not_split(batch):
    callers = []
    map_in_threads(lambda rows: (callers.append(threading.current_thread()), rows)[1], batch)
    assert callers == [threading.main_thread()]


@pytest.mark.usefixtures("three_threads")
def test_an_error_in_a_share_reaches_the_caller():
    def fail(rows: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(f"no {rows[-1, 0]}")

    with pytest.raises(RuntimeError, match="no 3"):
        map_in_threads(fail, large_batch())
