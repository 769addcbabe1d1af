"""Progress bars: a live line on a terminal, a block that updates in a notebook, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from noisystudent.runtime.event_log import EventLog, StageEvents
from noisystudent.runtime.notebook import NotebookBlock, in_notebook
from noisystudent.runtime.terminal import escaped, fitting, wrapped

PLAIN_INTERVAL = 10.0  # seconds between plain lines
_LIVE_INTERVAL = 0.1  # seconds between updates of a live line
_BAR_WIDTH = 24  # columns, of at most a quarter of the terminal

Show = Callable[["Bar", float], None]
"""Shows a bar at a time of ``time.monotonic()``."""


class Bar:
    """The progress of one stage, counted in units such as steps or images.

    ``show`` shows it live; without it, a plain line is printed now and then. ``later`` are units of the stages after it
    that take as long as its own, for the time left of the whole run. ``events`` keeps the named numbers.
    """

    def __init__(
        self,
        name: str,
        total: int,
        unit: str,
        show: Show | None,
        later: float = 0.0,
        events: StageEvents | None = None,
    ) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done = 0
        self.values: dict[str, float] = {}
        self._show, self._later, self._events = show, later, events
        self._start = self._last = time.monotonic()
        self._first = 0

    def start_at(self, done: int) -> None:
        """Sets the number of units that an earlier session finished; they do not count into the rate."""
        self.done = self._first = done
        if self._events:
            self._events.begin(done)

    def extend(self, count: int) -> None:
        """Adds ``count`` units to the total."""
        self.total += count

    def advance(self, count: int, values: Mapping[str, float] | None = None) -> None:
        """Adds ``count`` finished units, and shows named numbers such as losses, the last ones that were given."""
        self.done += count
        if values:
            self.values = dict(values)
            if self._events:
                self._events.add(self.done, values)
        self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._last < (_LIVE_INTERVAL if self._show else PLAIN_INTERVAL):
            return
        self._last = now
        if self._show:
            self._show(self, now)
        else:
            print(escaped(f"{self._state(now)}  {self.numbers}".rstrip()), file=sys.stderr, flush=True)

    @property
    def numbers(self) -> str:
        """The named numbers in words."""
        return "  ".join(f"{name} {value:.4g}" for name, value in self.values.items())

    def parts(self, now: float) -> list[str]:
        """What a live line says beside the name, the most important first."""
        done = f"{self.done}/{self.total}"
        if self.done == self._first:
            return [done]
        left = max(self.total - self.done, 0) / self.rate(now)
        whole = f"all {_clock(left + self._later / self.rate(now))}" if self._later else ""
        rate = f"{self.rate(now):.4g} {self.unit}/s"
        return [
            done,
            f"{_clock(left)} left",
            whole,
            rate,
            *(f"{name} {value:.4g}" for name, value in self.values.items()),
        ]

    def _state(self, now: float) -> str:
        """What is done, the rate and the time left; which is unknown before anything is done in this session."""
        done = f"{self.name}: {self.done}/{self.total} {self.unit}"
        if self.done == self._first:
            return f"{done}  time left unknown"
        rate = self.rate(now)
        return f"{done}  {rate:.4g}/s  {max(self.total - self.done, 0) / rate:.0f} s left{self._time_of_run(now)}"

    def _time_of_run(self, now: float) -> str:
        """The time left of the whole run, as far as it trains; empty in its last training."""
        if not self._later or self.done == self._first:
            return ""
        seconds = (max(self.total - self.done, 0) + self._later) / self.rate(now)
        return f", all about {seconds / 60:.0f} min" if seconds >= 90 else f", all about {seconds:.0f} s"

    def rate(self, now: float) -> float:
        """Returns the units per second of this session."""
        return (self.done - self._first) / max(now - self._start, 1e-9)


class Reporter:
    """Prints progress and remarks to standard error; ``quiet`` silences both, for tests and library use.

    In a notebook, everything that one reporter says stands in one block of output, which updates.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._expected: dict[str, int] = {}
        self.console = Console(stderr=True, quiet=quiet, highlight=False, emoji=False)
        self._events: EventLog | None = None
        self._block = NotebookBlock() if in_notebook() and not quiet else None

    def say(self, message: str) -> None:
        """Prints one remark; on a terminal, broken between words."""
        if self._block:
            self._block.say(message)
            return
        width = self.console.width if self.console.is_terminal else None
        self.console.print(wrapped(escaped(message), width), markup=False, soft_wrap=True)

    def expect(self, stages: Mapping[str, int]) -> None:
        """Tells which stages a run has, in order, with the samples that each trains on: bars say how far the run is."""
        self._expected = dict(stages)

    def log_to(self, events: EventLog) -> None:
        """Keeps the named numbers of all later bars and rounds, also those of a quiet reporter."""
        self._events = events

    def log_round(self, number: int, values: Mapping[str, float]) -> None:
        """Keeps the named numbers of a round, where numbers are kept."""
        if self._events:
            self._events.add_round(number, values)

    @contextmanager
    def bar(self, name: str, total: int, unit: str) -> Iterator[Bar]:
        """Yields a bar for a stage of ``total`` units; at the end, prints a line with its time and rate."""
        events = self._events.stage(name) if self._events else None
        try:
            if self.quiet:
                yield _SilentBar(name, total, unit, None, events=events)
            else:
                yield from self._shown_bar(name, total, unit, events)
        finally:
            if events:
                events.close()

    def _shown_bar(self, name: str, total: int, unit: str, events: StageEvents | None) -> Iterator[Bar]:
        start = time.monotonic()
        name, later = self._place(name, total)
        if self._block:
            bar = Bar(name, total, unit, self._block.show, later, events)
            self._block.show(bar, start)
            yield bar
        elif not self.console.is_terminal:
            self.say(f"{name} ...")
            bar = Bar(name, total, unit, None, later, events)
            yield bar
        else:
            with self._live(name, total) as show:
                bar = Bar(name, total, unit, show, later, events)
                yield bar
        seconds = time.monotonic() - start
        self.say(f"{name}: {bar.done} {unit} in {seconds:.1f} s ({bar.rate(time.monotonic()):.4g}/s)")

    @contextmanager
    def _live(self, name: str, total: int) -> Iterator[Show]:
        """A line on the terminal that disappears at the end; it says as much as its width has room for."""
        width = min(_BAR_WIDTH, self.console.width // 4)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=width),
            TextColumn("{task.fields[text]}", markup=False),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(escaped(name, keep=""), total=total, text=f"0/{total}")

            def show(bar: Bar, now: float) -> None:
                room = self.console.width - len(name) - width - 2
                text = escaped(fitting(bar.parts(now), room), keep="")
                progress.update(task, completed=bar.done, total=bar.total, text=text)

            yield show

    def _place(self, name: str, total: int) -> tuple[str, float]:
        """A stage's name with its number in the run, and the work after it in units of its own."""
        if name not in self._expected:
            return name, 0.0
        stages = list(self._expected)
        number, samples = stages.index(name) + 1, self._expected[name]
        after = sum(self._expected[stage] for stage in stages[number:])
        return f"[{number}/{len(stages)}] {name}", after * total / samples if samples else 0.0


class _SilentBar(Bar):
    def _tell(self) -> None:
        pass


def _clock(seconds: float) -> str:
    """A time such as 0:45, 14:05 or 2:03:10."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
