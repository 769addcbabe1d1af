"""A small network that learns what the delivered head of a run on a frozen backbone answers: compression in one go.

Bucila et al. 2006, "Model Compression": a large model labels many images, and a small one learns from these labels. A
head is a large model, because its backbone goes with it.
"""

from __future__ import annotations

import numpy as np

from noisystudent.models.classifier import create_classifier
from noisystudent.models.settings import ModelPlan
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.features.teachers import FeatureTeachers
from noisystudent.pipeline.heads.labels import label_and_select
from noisystudent.pipeline.score_stage import ScoredCheckpoint, score_checkpoint
from noisystudent.pipeline.stages.train import train
from noisystudent.pipeline.stages.train_data import student_spec
from noisystudent.training.linear_head import LinearHead

SMALL_STUDENT = "small-student"  # the folder of its stages
OWN_HEAD = {"head": 1.0}  # the delivered head alone labels for it


def check_small_student(context: RunContext) -> None:
    """Raises ``ModelError`` before anything is computed where ``head.student`` is no model for the run's images."""
    if name := context.settings.head.student:
        format, classes = context.splits.format, context.splits.classes
        create_classifier(name, classes=classes, channels=format.channels, size=format.size)


def train_small_student(
    context: RunContext, teachers: FeatureTeachers, head: LinearHead
) -> ScoredCheckpoint[Checkpoint] | None:
    """Trains the network that ``head.student`` names on labels and on the soft answers of a head to all images.

    It starts from the run's backbone if it is of that architecture, else from scratch.

    Args:
        context: The run.
        teachers: Those whose features the head answers on.
        head: The delivered head.

    Returns:
        The network with its scores, or None where the settings name none.
    """
    settings = context.settings
    if not settings.head.student:
        return None
    number = settings.rounds.count
    rows = np.arange(len(teachers.labels))
    predictions, selection = label_and_select(
        context, SMALL_STUDENT, teachers, OWN_HEAD, rows, head, number, None, None
    )
    soft = with_soft_labels(context)
    plan, strength = ModelPlan(settings.head.student), settings.noise.strength
    assert strength != "auto"
    checkpoint = train(
        soft, f"{SMALL_STUDENT}/student", plan, student_spec(soft, predictions, selection, number), strength
    )
    return ScoredCheckpoint(number, checkpoint, score_checkpoint(context, SMALL_STUDENT, checkpoint))


def with_soft_labels(context: RunContext) -> RunContext:
    """The same context with soft pseudo labels where the user gave no kind: a network keeps more of its teacher so."""
    if "objective.labels" in context.explicit:
        return context
    objective = context.settings.objective.model_copy(update={"labels": "soft"})
    return context.with_objective(objective)
