"""Ends a process that a signal stops (SIGINT, SIGTERM, SIGHUP) so that its work is kept and its children end too.

Schedulers, containers and closed terminals send SIGTERM and SIGHUP; both do what Ctrl-C does. No torch here.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STOPPING = (signal.SIGTERM, signal.SIGHUP)
_ALL = (signal.SIGINT, *_STOPPING)


class Terminated(KeyboardInterrupt):
    """A signal other than that of Ctrl-C stops the process."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def raise_on_signals() -> None:
    """Makes SIGTERM and SIGHUP raise ``Terminated`` in the main thread, unless they are ignored, as under nohup."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _STOPPING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _raise_terminated)


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)


class Interruption:
    """Whether a signal has come that asks to stop."""

    def __init__(self) -> None:
        self._number = 0
        self._handlers = {number: signal.getsignal(number) for number in _ALL}

    @property
    def is_requested(self) -> bool:
        """Whether a signal has come."""
        return self._number != 0

    def stop(self) -> None:
        """Does what the signal would have done at once, by default raise ``KeyboardInterrupt``.

        If no signal has come here, another process of a group has received one.
        """
        if not self._number:
            raise Terminated(signal.SIGTERM)
        handler = self._handlers[signal.Signals(self._number)]
        assert callable(handler)
        handler(self._number, None)

    def note(self, number: int, frame: FrameType | None) -> None:
        """Notes a signal; the second one takes effect at once."""
        if self._number:
            self.stop()
        self._number = number

    def begin(self) -> None:
        """Takes over the signals that Python code handles."""
        for number, handler in self._handlers.items():
            if callable(handler):
                signal.signal(number, self.note)

    def end(self) -> None:
        """Gives the signals back."""
        for number, handler in self._handlers.items():
            if callable(handler):
                signal.signal(number, handler)


@contextmanager
def noted_interruption() -> Iterator[Interruption]:
    """Yields whether to stop: signals are only noted in the block, which can end at a place where work can be kept.

    Outside the main thread, which alone receives signals, nothing is ever noted.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    interruption.begin()
    try:
        yield interruption
    finally:
        interruption.end()
    if interruption.is_requested:  # it came after the block last looked
        interruption.stop()
