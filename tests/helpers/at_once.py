"""Calls a function in several threads at the same moment."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def at_once(count: int, function: Callable) -> list:
    """The results of ``function(i)`` for all i, called at the same moment."""
    start = threading.Barrier(count, timeout=20)

    def call(index: int):
        start.wait()
        return function(index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))
