"""What every stage of a run took: timed while it works, kept in its folder, added up at the end.

Stages can run inside one another: a training makes its teachers' predictions first. Each then has its own time only, so
the times of all stages add up to that of the run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from noisystudent.artifacts.folder import read_json, write_json
from noisystudent.artifacts.typed_json import from_json, to_json
from noisystudent.results.run import Cost, StageCost

COST = "cost.json"
OTHER = "other"  # what no stage takes: reading the images, checks between the stages, and the page


@dataclass
class _OpenStage:
    """A stage at work: when it began, and the seconds of the stages inside it."""

    name: str
    started: float
    inside: float = 0.0


class StageCosts:
    """The stages of one call: which there were, where each keeps its cost, and how long the present ones work."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._folders: dict[str, Path] = {}
        self._open: list[_OpenStage] = []
        self._seconds_of_stages = 0.0

    def found(self, stage: str, folder: Path) -> None:
        """Counts a stage that was finished before; its clock stops if it was started to look."""
        self._folders[stage] = folder
        self._open = [entry for entry in self._open if entry.name != stage]

    def begin(self, stage: str, folder: Path) -> None:
        """Starts the clock of a stage unless it runs; what is begun before ``finish`` is inside it."""
        self._folders[stage] = folder
        if all(entry.name != stage for entry in self._open):
            self._open.append(_OpenStage(stage, time.monotonic()))

    def finish(self, cost: StageCost) -> None:
        """Writes the cost of a stage into its folder: that of earlier calls, as given, and the time since it began."""
        stage = self._open.pop()
        assert stage.name == cost.name
        elapsed = time.monotonic() - stage.started
        own = elapsed - stage.inside
        if self._open:
            self._open[-1].inside += elapsed
        self._seconds_of_stages += own
        total = replace(cost, seconds=round(cost.seconds + own, 3))
        write_json(self._folders[cost.name] / COST, to_json(total))

    def total(self) -> Cost:
        """The cost of all stages of the run, and of the rest of this call."""
        session = time.monotonic() - self._started
        stages = [read_cost(folder / COST, name) for name, folder in self._folders.items()]
        stages.append(StageCost(name=OTHER, seconds=round(session - self._seconds_of_stages, 3)))
        return Cost(
            seconds=round(sum(stage.seconds for stage in stages), 3),
            session_seconds=round(session, 3),
            samples_seen=sum(stage.samples_seen for stage in stages),
            images_predicted=sum(stage.images_predicted for stage in stages),
            stages=tuple(stages),
        )


def read_cost(path: Path, name: str = "") -> StageCost:
    """The cost of a finished stage; nothing, under ``name``, where the version that made it kept none."""
    return from_json(StageCost, read_json(path), str(path)) if path.exists() else StageCost(name=name)
