"""Which model a run delivers, decided by validation labels alone: test labels choose nothing."""

from __future__ import annotations

from collections.abc import Sequence

from noisystudent.evaluation.verdict import compare
from noisystudent.pipeline.checkpoints import Checkpoint, TrainedModel
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.score_stage import ScoredCheckpoint
from noisystudent.results.run import ChosenBy, Delivery, Role

Scored = ScoredCheckpoint[Checkpoint]


def is_worse(student: Scored, other: Scored, p_value: float) -> bool:
    """Whether validation shows ``student`` to be worse than ``other``; without validation nothing can show it."""
    if "validation" not in student.result.correct:
        return False
    comparison = compare(student.result.correct["validation"], other.result.correct["validation"])
    return comparison.difference < 0 and comparison.p_value < p_value


def validation_top1(model: Scored) -> tuple[float, int]:
    """The accuracy on validation, 0 without it, then the round: of equal models the later one is the better."""
    validation = model.result.scores["validation"]
    return (validation.top1 if validation else 0.0, model.round)


def choose_delivered(context: RunContext, student: Scored, labels_only: Sequence[Scored]) -> Scored:
    """The model to deliver: the last student that was kept, unless validation shows a labels-only model to be better.

    Of the labels-only models, teacher and controls, the one with the highest validation accuracy is compared with the
    student, by McNemar's exact test at the level of ``rounds.worse_p``.
    """
    rival = max(labels_only, key=validation_top1)
    if not is_worse(student, rival, context.settings.rounds.worse_p):
        return student
    context.reporter.say(
        f"validation shows the labels-only model {rival.checkpoint.name} to be better than {student.checkpoint.name}: "
        "it is delivered"
    )
    return rival


def describe_delivery(
    delivered: ScoredCheckpoint[TrainedModel],
    labels_only: Sequence[ScoredCheckpoint[TrainedModel]],
    chosen_by: ChosenBy,
) -> Delivery:
    """What chose the delivered model, and the labels-only models that score higher where results are reported."""
    role: Role = "test" if delivered.result.scores.get("test") else "validation"
    scores = {model.checkpoint.name: model.result.scores.get(role) for model in (delivered, *labels_only)}
    top1 = {name: score.top1 for name, score in scores.items() if score}
    own = top1.get(delivered.checkpoint.name, 0.0)
    higher = sorted((name for name in top1 if top1[name] > own), key=lambda name: -top1[name])
    return Delivery(chosen_by=chosen_by, labels_only_above={name: top1[name] for name in higher})
