"""Scalars for TensorBoard, beside a run's results: nothing reads them again, and no result depends on them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from noisystudent.errors import SettingsError

EVENTS = "tensorboard"  # the folder
NEEDED = "tensorboard"  # the package, and the extra that installs it


def require_event_log() -> None:
    """Raises ``SettingsError`` if the package that writes events is not installed."""
    if find_spec(NEEDED) is None:
        raise SettingsError(
            "runtime.log tensorboard needs the package tensorboard, which is not installed; install it with "
            "pip install 'noisystudent[tensorboard]', or leave out runtime.log."
        )


class StageEvents:
    """The scalars of one stage, over its steps; events of an attempt that was killed are overwritten."""

    def __init__(self, folder: Path) -> None:
        """Opens nothing yet: a stage without scalars leaves no folder."""
        self._folder, self._first = folder, 0
        self._writer: Any = None

    def begin(self, step: int) -> None:
        """Says which steps are done already; later events of earlier attempts no longer count."""
        self._first = step

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Adds named numbers at a step."""
        if self._writer is None:
            writer = import_module("torch.utils.tensorboard").SummaryWriter
            self._writer = writer(str(self._folder), purge_step=self._first + 1)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Writes what is waiting."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Writes what is waiting, and closes the file."""
        if self._writer is not None:
            self._writer.close()


class EventLog:
    """The events of a run: one folder per stage, which TensorBoard shows as one line each."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder of all events, which is made when there are some."""
        self._folder = folder
        self._rounds = self.stage("rounds")
        self._rounds.begin(-1)  # every process tells all rounds

    def stage(self, name: str) -> StageEvents:
        """The events of a stage; ``name`` may have slashes."""
        return StageEvents(self._folder / name)

    def add_round(self, number: int, values: Mapping[str, float]) -> None:
        """Writes the scalars of a round at once; the teacher is round 0."""
        self._rounds.add(number, values)
        self._rounds.flush()
