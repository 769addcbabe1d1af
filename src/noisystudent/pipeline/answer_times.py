"""How fast the student of a distillation is beside its teachers, measured once and kept with the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from noisystudent.artifacts.typed_json import read_result, write_result
from noisystudent.models.answer_timing import IMAGES, milliseconds_per_image
from noisystudent.pipeline.autotune import SPEED
from noisystudent.pipeline.checkpoints import TrainedModel
from noisystudent.pipeline.context import RunContext
from noisystudent.results.run import AnswerTimes, RunSummary, StageCost

STAGE = "answer-times"


def with_answer_times(
    context: RunContext, summary: RunSummary, teachers: Sequence[TrainedModel], student: TrainedModel
) -> RunSummary:
    """The summary of a distillation with the milliseconds per image of its student and its teachers."""
    times = _measure(context, [*teachers, student]).milliseconds
    of_teachers = [times[teacher.name] for teacher in teachers]
    members = [replace(model, milliseconds=taken) for model, taken in zip(summary.teachers, of_teachers, strict=False)]
    teacher = summary.teacher
    if teacher and of_teachers:
        teacher = replace(teacher, milliseconds=sum(of_teachers))
    delivered = replace(summary.student, milliseconds=times[student.name])
    return replace(summary, student=delivered, teacher=teacher, teachers=tuple(members))


def _measure(context: RunContext, models: Sequence[TrainedModel]) -> AnswerTimes:
    precision, file = context.settings.runtime.precision, context.folder_of(STAGE) / "summary.json"
    inputs = {"models": {model.name: model.fingerprint for model in models}, "precision": precision}
    if not context.is_complete(STAGE, inputs):

        def write() -> None:
            taken = milliseconds_per_image([model.teacher(context.device) for model in models], precision)
            named = {model.name: value for model, value in zip(models, taken, strict=True)}
            write_result(file, AnswerTimes(milliseconds=named, images=IMAGES, device=str(context.device)))
            context.commit(SPEED, inputs, StageCost(name=STAGE), volatile=(file.name,))

        context.engine.group.on_main(write)
    return read_result(AnswerTimes, file)
