"""The training of a round's student: on labels and pseudo labels together, or on one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from noisystudent.errors import ModelError
from noisystudent.models.settings import ModelPlan
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.labels.class_shares import labeling_stage
from noisystudent.pipeline.stages.online_checks import goes_on, is_online
from noisystudent.pipeline.stages.train import train
from noisystudent.pipeline.stages.train_data import TeacherRef, pretraining_spec, student_spec, supervised_spec
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
    start = start_from(context, teacher, plan) if context.settings.train.warm_start else None
    if not context.settings.rounds.joint:
        return _train_apart(context, number, plan, folders, strength, start)
    spec, distillation = student_spec(context, *folders, number), context.settings.distillation
    if distillation.method != "none":
        labeled = f"round-{number}/labeled-predictions"
        reference = TeacherRef(teacher, labeled, labeling_stage(context.settings, number))
        spec = spec.with_teachers(distillation, [reference])
    return train(context, f"round-{number}/student", plan, spec, strength, start=start)


def pretraining_steps(train: TrainSettings, round_number: int) -> tuple[int, int]:
    """Steps on pseudo labels and then on labels of a student that learns from one after the other.

    It sees as many images of each as a student that learns from both together: under ``train.batch labeled``, which has
    a batch for each, both have all steps; else they share the steps in the ratio of their images, at least one each.
    """
    if train.batch == "labeled":
        return train.last, train.last
    labeled, pseudo = train.student_counts(round_number)
    first = min(max(1, round(train.last * pseudo / (labeled + pseudo))), max(1, train.last - 1))
    return first, max(1, train.last - first)


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


def check_starts(context: RunContext, plans: Sequence[ModelPlan]) -> None:
    """Raises ``ModelError`` before anything is trained where a student could not start from its teacher's weights."""
    settings = context.settings
    goes_on_online = is_online(settings) and goes_on(settings)
    for number, (teacher, student) in enumerate(pairwise(plans), start=1):
        if settings.train.warm_start or (goes_on_online and number > settings.rounds.count):
            _require_same_model(context, teacher.name, student)


def start_from(context: RunContext, teacher: Checkpoint, plan: ModelPlan) -> Checkpoint:
    """The model that a student starts from; raises ``ModelError`` where the student has another architecture."""
    _require_same_model(context, teacher.model, plan)
    return teacher


def _require_same_model(context: RunContext, teacher: str, plan: ModelPlan) -> None:
    if plan.name != teacher and not context.extensions.model:
        needing = "train.warm_start" if context.settings.train.warm_start else "an online.method after rounds"
        raise ModelError(
            f"{needing} needs students of their teacher's model, but the teacher is {teacher!r} and the student "
            f"{plan.name!r}; use one model, or leave that out."
        )
