"""A batch shared out among threads, for work that is many small operations of torch on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier

import torch
from torch import Tensor

_LEAST_SHARE = 1 << 20  # values: below, handing out costs as much as it saves; 7 color images of 224 px
_MOST_SHARES = 8  # beyond, threads mostly wait for Python


def in_shares(function: Callable[..., Tensor], first: Tensor, *others: Tensor) -> Tensor:
    """``function`` of tensors that have a row for each image, a few threads taking some of the rows each.

    For a function whose result for a row depends on that row alone. Torch's own threads split every single operation
    and wait for each other after it, which for an image at a time costs more than it saves. There are as many shares
    as torch has threads, fewer for a small batch, and on an accelerator one.
    """
    most = min(torch.get_num_threads(), _MOST_SHARES)
    count = min(most, len(first), first.numel() // _LEAST_SHARE)
    if count <= 1 or first.device.type != "cpu":
        return function(first, *others)
    shares = zip(*(tensor.tensor_split(count) for tensor in (first, *others)), strict=True)
    return torch.cat(list(_helpers(most).map(lambda share: function(*share), shares)))


@cache
def _helpers(count: int) -> ThreadPoolExecutor:
    """Threads in which torch does not split its operations further."""
    threads = torch.get_num_threads()
    ready = Barrier(count + 1)

    def begin() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # a thread's first look at the number would take what the last one set: here still 1
        ready.wait()

    helpers = ThreadPoolExecutor(count, "share", initializer=begin)
    for _ in range(count):
        helpers.submit(int)
    ready.wait()
    torch.set_num_threads(threads)  # for threads to come: they begin with the number that was set last, by any thread
    return helpers
