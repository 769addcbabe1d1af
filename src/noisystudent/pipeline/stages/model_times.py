"""The stage that times a student and its teachers, so that a distillation can say what it made faster."""

from __future__ import annotations

from collections.abc import Sequence

from noisystudent.artifacts.typed_json import read_result, write_result
from noisystudent.models.speed import milliseconds_per_image
from noisystudent.pipeline.checkpoints import TrainedModel
from noisystudent.pipeline.context import RunContext
from noisystudent.results.run import ModelTimes, StageCost

TIMING = "timing"


def model_times(context: RunContext, models: Sequence[TrainedModel]) -> dict[str, float]:
    """The milliseconds per image of each model by its name, measured once, by the main process."""
    precision = context.settings.runtime.settled().precision
    inputs = {"models": {model.name: model.fingerprint for model in models}, "precision": precision}
    path = context.folder_of(TIMING) / "summary.json"
    if not context.is_complete(TIMING, inputs):

        def write() -> None:
            times = {model.name: milliseconds_per_image(model.teacher(context.device), precision) for model in models}
            write_result(path, ModelTimes(milliseconds=times))
            context.commit(TIMING, inputs, StageCost(name=TIMING))

        context.engine.group.on_main(write)
    return read_result(ModelTimes, path).milliseconds
