"""The end of a run: its results, the verdict, summary.json and the delivered model."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

from noisystudent.artifacts.folder import commit
from noisystudent.evaluation.verdict import UNLABELED, Verdict, compare, reach_verdict
from noisystudent.models.checkpoint import CHECKPOINT
from noisystudent.pipeline.checkpoints import TRAINING, Trained
from noisystudent.pipeline.context import Workshop
from noisystudent.pipeline.score_stage import Scored
from noisystudent.training.loop import METRICS


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


BEST = "best"


def summarize(workshop: Workshop, story: Story, robustness: dict[str, Any] | None, *, seconds: float) -> dict[str, Any]:
    """What summary.json holds; ``seconds`` is the time of this session, stages found done not counted."""
    rounds = [
        {
            **contender_row(each.student, f"round {each.number}"),
            "round": each.number,
            "selected": each.selection["selected"],
            "copies": each.selection["copies"],
            "rolled_back": each.rolled_back,
            "pseudo_labels": each.pseudo_labels,
            "signs": each.signs,
        }
        for each in story.rounds
    ]
    everyone = [story.teacher, *(each.student for each in story.rounds), *([story.control] if story.control else [])]
    return {
        "recipe": workshop.settings.recipe,
        "seed": workshop.settings.seed,
        "classes": list(workshop.roles.classes),
        "teacher": contender_row(story.teacher, "teacher"),
        "control": contender_row(story.control, "control") if story.control else None,
        "rounds": rounds,
        "student": contender_row(story.delivered, "student"),
        "delivered": story.delivered.trained.name.removesuffix("/student"),
        "baselines": [],
        "verdict": reach(story).as_json(),
        "robustness": robustness,
        "cost": {
            "seconds": round(sum(each.trained.seconds for each in everyone), 1),
            "session_seconds": round(seconds, 1),
            "passes": sum(each.trained.passes for each in everyone),
        },
    }


def reach(story: Story) -> Verdict:
    """The verdict on the last student that was not rolled back (or the teacher) against the control.

    On test labels where there are some, else on validation labels, else it cannot tell.
    """
    student = story.delivered
    if story.control is None:
        return Verdict("cannot tell", "no control was trained (rounds.control false)", None, None, None, 0, "none")
    if student is story.control:
        student = next((each.student for each in reversed(story.rounds) if not each.rolled_back), story.teacher)
    return compare_contenders(student, story.control)


def compare_contenders(student: Contender, control: Contender, helper: str = UNLABELED) -> Verdict:
    """The verdict on a student that had a ``helper`` against a control without, on the best labels that there are."""
    right, by_control = student.scored.right, control.scored.right
    if "test" in right:
        return reach_verdict(compare(right["test"], by_control["test"]), "test", helper)
    if "validation" in right:
        return reach_verdict(compare(right["validation"], by_control["validation"]), "validation", helper)
    return reach_verdict(None, "none", helper)


def contender_row(contender: Contender, name: str) -> dict[str, Any]:
    """A contender as summary.json holds it."""
    trained = contender.trained
    return {
        "name": name,
        "model": trained.model,
        "parameters": trained.parameters,
        "passes": trained.passes,
        "seconds": trained.seconds,
        **contender.scored.scores,
    }


def deliver(workshop: Workshop, checkpoint: Trained) -> None:
    """Copies the delivered checkpoint to ``best/``; a copy, so that the folder can be taken anywhere."""
    inputs = {"checkpoint": checkpoint.fingerprint, "name": checkpoint.name}
    if workshop.is_done(BEST, inputs):
        return

    def copy() -> None:
        for name in ("config.json", "model.safetensors", TRAINING, METRICS):
            shutil.copyfile(checkpoint.folder / name, workshop.folder / BEST / name)
        commit(workshop.folder / BEST, CHECKPOINT, inputs, volatile=(METRICS, TRAINING))

    workshop.engine.ranks.first_says(copy)
