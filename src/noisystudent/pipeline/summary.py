"""The end of a run: its results, the verdict, summary.json and the delivered model."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

from noisystudent.artifacts.folder import commit
from noisystudent.evaluation.verdict import UNLABELED, Verdict, compare, reach_verdict
from noisystudent.models.checkpoint import CHECKPOINT
from noisystudent.pipeline.checkpoints import TRAINING, Checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.score_stage import EvalResult
from noisystudent.training.loop import METRICS


@dataclass(frozen=True)
class EvaluatedModel:
    """A trained model with its scores; ``round`` is 0 for the teacher."""

    round: int
    checkpoint: Checkpoint
    eval_result: EvalResult


@dataclass(frozen=True)
class Round:
    """What one round did."""

    number: int
    student: EvaluatedModel
    rolled_back: bool
    selection: dict[str, Any]
    pseudo_labels: dict[str, float | None] | None
    diagnostics: dict[str, float | None]


@dataclass(frozen=True)
class RunResult:
    """All that a finished run has to tell."""

    teacher: EvaluatedModel
    rounds: list[Round]
    control: EvaluatedModel | None
    delivered: EvaluatedModel

    @property
    def evaluated_models(self) -> dict[str, Checkpoint]:
        """Everyone that was trained, by name: the control first, with whom the others are compared, then the story."""
        control = {"control": self.control.checkpoint} if self.control else {}
        students = {f"round {each.number}": each.student.checkpoint for each in self.rounds}
        return {**control, "teacher": self.teacher.checkpoint, **students}


BEST = "best"


def summarize(
    context: RunContext, story: RunResult, robustness: dict[str, Any] | None, *, seconds: float
) -> dict[str, Any]:
    """What summary.json holds; ``seconds`` is the time of this session, stages found done not counted."""
    rounds = [
        {
            **model_row(each.student, f"round {each.number}"),
            "round": each.number,
            "selected": each.selection["selected"],
            "copies": each.selection["copies"],
            "rolled_back": each.rolled_back,
            "pseudo_labels": each.pseudo_labels,
            "diagnostics": each.diagnostics,
        }
        for each in story.rounds
    ]
    everyone = [story.teacher, *(each.student for each in story.rounds), *([story.control] if story.control else [])]
    return {
        "recipe": context.settings.recipe,
        "seed": context.settings.seed,
        "classes": list(context.splits.classes),
        "teacher": model_row(story.teacher, "teacher"),
        "control": model_row(story.control, "control") if story.control else None,
        "rounds": rounds,
        "student": model_row(story.delivered, "student"),
        "delivered": story.delivered.checkpoint.name.removesuffix("/student"),
        "baselines": [],
        "verdict": reach(story).as_json(),
        "robustness": robustness,
        "cost": {
            "seconds": round(sum(each.checkpoint.seconds for each in everyone), 1),
            "session_seconds": round(seconds, 1),
            "samples_seen": sum(each.checkpoint.samples_seen for each in everyone),
        },
    }


def reach(story: RunResult) -> Verdict:
    """The verdict on the last student that was not rolled back (or the teacher) against the control.

    On test labels where there are some, else on validation labels, else it cannot tell.
    """
    student = story.delivered
    if story.control is None:
        return Verdict("cannot tell", "no control was trained (rounds.control false)", None, None, None, 0, "none")
    if student is story.control:
        student = next((each.student for each in reversed(story.rounds) if not each.rolled_back), story.teacher)
    return compare_models(student, story.control)


def compare_models(student: EvaluatedModel, control: EvaluatedModel, treatment: str = UNLABELED) -> Verdict:
    """The verdict on a student with a ``treatment`` against a control without it, on the best labels there are."""
    correct, by_control = student.eval_result.correct, control.eval_result.correct
    if "test" in correct:
        return reach_verdict(compare(correct["test"], by_control["test"]), "test", treatment)
    if "validation" in correct:
        return reach_verdict(compare(correct["validation"], by_control["validation"]), "validation", treatment)
    return reach_verdict(None, "none", treatment)


def model_row(evaluated: EvaluatedModel, name: str) -> dict[str, Any]:
    """A contender as summary.json holds it."""
    checkpoint = evaluated.checkpoint
    return {
        "name": name,
        "model": checkpoint.model,
        "parameters": checkpoint.parameters,
        "samples_seen": checkpoint.samples_seen,
        "seconds": checkpoint.seconds,
        **evaluated.eval_result.scores,
    }


def deliver(context: RunContext, checkpoint: Checkpoint) -> None:
    """Copies the delivered checkpoint to ``best/``; a copy, so that the folder can be taken anywhere."""
    inputs = {"checkpoint": checkpoint.fingerprint, "name": checkpoint.name}
    if context.is_done(BEST, inputs):
        return

    def copy() -> None:
        for name in ("config.json", "model.safetensors", TRAINING, METRICS):
            shutil.copyfile(checkpoint.folder / name, context.folder / BEST / name)
        commit(context.folder / BEST, CHECKPOINT, inputs, volatile=(METRICS, TRAINING))

    context.engine.group.on_main(copy)
