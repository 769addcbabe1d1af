"""Progress bars: a live line on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from noisystudent.runtime.terminal import escaped

PLAIN_INTERVAL = 10.0  # seconds between plain lines


class Bar:
    """The progress of one stage, counted in units such as steps or images.

    ``later`` are units of the stages after it that take as long as its own, for the time left of the whole run.
    """

    def __init__(
        self, name: str, total: int, unit: str, live: tuple[Progress, TaskID] | None, later: float = 0.0
    ) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done = 0
        self._live, self._later = live, later
        self._start = self._last_line = time.monotonic()
        self._first = 0

    def start_at(self, done: int) -> None:
        """Sets the number of units that an earlier session finished; they do not count into the rate."""
        self.done = self._first = done
        if self._live:
            self._live[0].reset(self._live[1], completed=done)  # not update, which would count them into the rate

    def extend(self, count: int) -> None:
        """Adds ``count`` units to the total."""
        self.total += count
        if self._live:
            self._live[0].update(self._live[1], total=self.total)

    def advance(self, count: int, values: dict[str, float] | None = None) -> None:
        """Adds ``count`` finished units, and shows named numbers such as losses."""
        self.done += count
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in (values or {}).items())
        now = time.monotonic()
        if self._live:
            bar, task = self._live
            rate = f"{self.rate(now):.4g} {self.unit}/s{self._time_of_run(now)}"
            bar.update(task, completed=self.done, numbers=numbers, rate=rate)
        elif now - self._last_line >= PLAIN_INTERVAL:
            self._last_line = now
            print(escaped(f"{self._state(now)}  {numbers}".rstrip()), file=sys.stderr, flush=True)

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
    """Prints progress and remarks to standard error; ``quiet`` silences both, for tests and library use."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._expected: dict[str, int] = {}
        self.console = Console(stderr=True, quiet=quiet, highlight=False, emoji=False)

    def say(self, message: str) -> None:
        """Prints one remark on a line."""
        self.console.print(escaped(message), markup=False, soft_wrap=True)

    def expect(self, stages: Mapping[str, int]) -> None:
        """Tells which stages a run has, in order, with the samples that each trains on: bars say how far the run is."""
        self._expected = dict(stages)

    @contextmanager
    def bar(self, name: str, total: int, unit: str) -> Iterator[Bar]:
        """Yields a bar for a stage of ``total`` units; at the end, prints a line with its time and rate."""
        start = time.monotonic()
        if self.quiet:
            yield _SilentBar(name, total, unit, None)
            return
        name, later = self._place(name, total)
        if not self.console.is_terminal:
            self.say(f"{name} ...")
            bar = Bar(name, total, unit, None, later)
            yield bar
        else:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.completed}/{task.total}"),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[numbers]}"),
            )
            with Progress(*columns, console=self.console, transient=True) as live:
                task = live.add_task(name, total=total, rate="", numbers="")
                bar = Bar(name, total, unit, (live, task), later)
                yield bar
        seconds = time.monotonic() - start
        self.say(f"{name}: {bar.done} {unit} in {seconds:.1f} s ({bar.rate(time.monotonic()):.4g}/s)")

    def _place(self, name: str, total: int) -> tuple[str, float]:
        """A stage's name with its number in the run, and the work after it in units of its own."""
        if name not in self._expected:
            return name, 0.0
        stages = list(self._expected)
        number, samples = stages.index(name) + 1, self._expected[name]
        after = sum(self._expected[stage] for stage in stages[number:])
        return f"[{number}/{len(stages)}] {name}", after * total / samples if samples else 0.0


class _SilentBar(Bar):
    def advance(self, count: int, values: dict[str, float] | None = None) -> None:
        self.done += count
