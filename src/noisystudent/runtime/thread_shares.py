"""A batch split over several threads, for functions made of many small torch operations on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier

import torch
from torch import Tensor

_MIN_SHARE = 1 << 20  # values (7 color images of 224 px); with fewer, starting a thread costs as much as it saves
_MAX_THREADS = 8  # with more, threads mostly wait for Python


def map_in_threads(function: Callable[..., Tensor], first: Tensor, *others: Tensor) -> Tensor:
    """Calls ``function`` on consecutive shares of the rows in several threads, and concatenates the results.

    Torch's own threads split every operation and wait for each other after it, which costs more than it saves for
    operations on few images. There is one share per thread of torch, fewer for a small batch, and one on an
    accelerator.

    Args:
        function: its result for a row must depend on that row alone.
        first: first argument of the function, one row per image.
        others: its further arguments, one row per image.
    """
    max_threads = min(torch.get_num_threads(), _MAX_THREADS)
    count = min(max_threads, len(first), first.numel() // _MIN_SHARE)
    if count <= 1 or first.device.type != "cpu":
        return function(first, *others)
    shares = zip(*(tensor.tensor_split(count) for tensor in (first, *others)), strict=True)
    return torch.cat(list(_thread_pool(max_threads).map(lambda share: function(*share), shares)))


@cache
def _thread_pool(count: int) -> ThreadPoolExecutor:
    """Threads in which torch does not split its operations further."""
    threads = torch.get_num_threads()
    ready = Barrier(count + 1)

    def begin() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # a thread reads the number that was last set when it first asks: here still 1
        ready.wait()

    pool = ThreadPoolExecutor(count, "share", initializer=begin)
    for _ in range(count):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(threads)  # for later threads, which start with the number that any thread set last
    return pool
