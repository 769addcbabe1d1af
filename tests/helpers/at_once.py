"""Calls a function in several threads at the same moment."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

DEADLOCK = 300.0  # seconds until threads that wait for each other give up; a slow machine takes a fraction of it


def at_once(count: int, function: Callable) -> list:
    """The results of ``function(i)`` for all i, called at the same moment.

    Where one call fails, others that wait for it at a barrier break off: the error that broke the barrier is raised.
    """
    start = threading.Barrier(count, timeout=DEADLOCK)

    def call(index: int):
        start.wait()
        return function(index)

    with ThreadPoolExecutor(count) as pool:
        calls = [pool.submit(call, index) for index in range(count)]
    errors = [error for error in (call.exception() for call in calls) if error]
    for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error
    return [call.result() for call in calls]
