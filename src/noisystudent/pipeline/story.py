"""The records that a run is told in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from noisystudent.pipeline.checkpoints import Trained
from noisystudent.pipeline.train_stage import Scored


@dataclass(frozen=True)
class Contender:
    """A trained model with its scores; ``round`` is 0 for the teacher."""

    round: int
    trained: Trained
    scored: Scored


@dataclass(frozen=True)
class Round:
    """What one round did."""

    number: int
    student: Contender
    rolled_back: bool
    selection: dict[str, Any]
    pseudo_labels: dict[str, float | None] | None
    signs: dict[str, float | None]


@dataclass(frozen=True)
class Story:
    """All that a finished run has to tell."""

    teacher: Contender
    rounds: list[Round]
    control: Contender | None
    delivered: Contender

    @property
    def contenders(self) -> dict[str, Trained]:
        """Everyone that was trained, by name: the control first, with whom the others are compared, then the story."""
        control = {"control": self.control.trained} if self.control else {}
        students = {f"round {each.number}": each.student.trained for each in self.rounds}
        return {**control, "teacher": self.teacher.trained, **students}
