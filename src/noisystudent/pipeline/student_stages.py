"""The training of a round's student: on labels and pseudo labels together, or on one after the other."""

from __future__ import annotations

from pathlib import Path

from noisystudent.errors import ModelError
from noisystudent.models.settings import ModelPlan
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.train_data import TeacherRef, pretraining_spec, student_spec, supervised_spec
from noisystudent.pipeline.train_stage import train
from noisystudent.training.settings import TrainSettings


def train_student(
    context: RunContext,
    number: int,
    plan: ModelPlan,
    teacher: Checkpoint,
    folders: tuple[Path, Path],
    strength: float,
) -> Checkpoint:
    """Trains the student of a round, or finds it done.

    Args:
        context: The run.
        number: The round, from 1.
        plan: The student's model.
        teacher: The model that labeled the images.
        folders: The round's predictions and its selection.
        strength: The noise strength of the run.

    Raises:
        ModelError: ``train.warm_start`` is true, and the student's model is not its teacher's.
    """
    start, stage = _warm_start(context, teacher, plan), f"round-{number}/student"
    if not context.settings.rounds.joint:
        return _train_apart(context, number, plan, folders, strength, start)
    spec, distillation = student_spec(context, *folders, number), context.settings.distillation
    if distillation.method != "none":
        reference = TeacherRef(teacher, f"round-{number}/labeled-predictions", f"round-{number}/predictions")
        spec = spec.with_teachers(distillation, [reference])
    return train(context, stage, plan, spec, strength, start=start)


def pretraining_steps(train: TrainSettings, round_number: int) -> tuple[int, int]:
    """Steps on pseudo labels and then on labels of a student that learns from one after the other.

    It sees as many images of each as a student that learns from both together: under ``train.batch labeled``, which has
    a batch for each, both have all steps; else they share the steps in the ratio of their images.
    """
    if train.batch == "labeled":
        return train.last, train.last
    labeled, pseudo = train.student_counts(round_number)
    first = min(max(1, round(train.last * pseudo / (labeled + pseudo))), train.last - 1)
    return first, train.last - first


def _train_apart(
    context: RunContext,
    number: int,
    plan: ModelPlan,
    folders: tuple[Path, Path],
    strength: float,
    start: Checkpoint | None,
) -> Checkpoint:
    """Pretrains a round's student on pseudo labels, then fine-tunes it on labels."""
    first, second = pretraining_steps(context.settings.train, number)
    spec = pretraining_spec(context, *folders, number)
    pretrained = train(context.with_steps(first), f"round-{number}/pretrained", plan, spec, strength, start=start)
    labels = supervised_spec(context)
    return train(context.with_steps(second), f"round-{number}/student", plan, labels, strength, start=pretrained)


def _warm_start(context: RunContext, teacher: Checkpoint, plan: ModelPlan) -> Checkpoint | None:
    if not context.settings.train.warm_start:
        return None
    if plan.name != teacher.model and not context.extensions.model:
        raise ModelError(
            f"train.warm_start needs students of their teacher's model, but the teacher is {teacher.model!r} and the "
            f"student {plan.name!r}; use one model, or train.warm_start false."
        )
    return teacher
