"""What rounds of whole networks cannot do is said before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from noisystudent.display.wording import compact
from noisystudent.errors import SettingsError
from noisystudent.models.classifier import create_classifier
from noisystudent.models.create import count_parameters
from noisystudent.models.settings import ModelPlan
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.labels.foreign import require_known_images
from noisystudent.pipeline.stages.noise import input_size
from noisystudent.pipeline.stages.teacher_logits import check_cached
from noisystudent.run_settings import RunSettings


def check_networks(context: RunContext) -> None:
    """Raises ``SettingsError`` where settings do not fit into rounds of networks, or into these images."""
    require_known_images(context.settings, context.splits, context.extensions)
    _check_distillation(context.settings)
    context.settings.distillation.require_classes(len(context.splits.classes))
    check_cached(context)


def _check_distillation(settings: RunSettings) -> None:
    """Raises ``SettingsError`` where the settings of distillation do not fit into rounds."""
    distillation = settings.distillation
    if distillation.teachers or distillation.students != ("auto",):
        raise SettingsError(
            "distillation.teachers and students are for distill; in a run the model.* settings say who they are."
        )
    if distillation.needs_teacher and settings.noise.teacher:
        raise SettingsError(
            f"noise.teacher noises the teacher that labels, and distillation.method {distillation.method} has one that "
            "is never noised; leave one of the two out."
        )


def announce_smaller_students(context: RunContext, plans: Sequence[ModelPlan]) -> None:
    """Says which student is smaller than the model before it; the paper's students are equal or larger."""
    if len(set(plans)) == 1 or context.extensions.model:
        return
    classes, channels = context.splits.classes, context.splits.format.channels
    sizes = {
        plan: count_parameters(
            create_classifier(plan.name, classes=classes, channels=channels, size=input_size(context, plan))
        )
        for plan in dict.fromkeys(plans)
    }
    for number, (teacher, student) in enumerate(pairwise(plans), start=1):
        if sizes[student] < sizes[teacher]:
            context.reporter.say(
                f"note: the student of round {number}, {student.name} with {compact(sizes[student])} parameters, is "
                f"smaller than its teacher, {teacher.name} with {compact(sizes[teacher])}. Students of Noisy Student "
                "training are equal or larger; a smaller one compresses its teacher (docs/distillation.md)."
            )
