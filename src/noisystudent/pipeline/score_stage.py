"""The scoring stage of a run: a checkpoint's predictions on held-out data, stored and scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from noisystudent.artifacts.folder import atomic_write, write_json
from noisystudent.artifacts.tables import read_table
from noisystudent.artifacts.typed_json import read_result, to_json
from noisystudent.data.images import Images
from noisystudent.data.splits import HeldOutPredictions
from noisystudent.evaluation.metrics.ensemble import mean_log_probabilities
from noisystudent.evaluation.metrics.results import Scores
from noisystudent.evaluation.metrics.scores import score
from noisystudent.evaluation.metrics.temperature import fit_temperature
from noisystudent.models.calibration import Calibration, read_calibration, write_calibration
from noisystudent.models.teacher import TeacherModel, log_probabilities
from noisystudent.pipeline.checkpoints import TrainedModel
from noisystudent.pipeline.context import RunContext
from noisystudent.results.run import StageCost
from noisystudent.runtime.device import images_per_pass

SCORES = "scores"

Floats = npt.NDArray[np.float32]
Model = TypeVar("Model", bound=TrainedModel, covariant=True)


def predict(context: RunContext, teacher: TeacherModel, images: Images) -> Floats:
    """Log-probabilities [N, K] of the teacher, by all processes together, at the run's batch size and precision."""
    runtime, group = context.settings.runtime, context.engine.group
    share = images.take(np.arange(len(images))[group.share_of(len(images))]) if group.world_size > 1 else images
    batch_size = images_per_pass(runtime, teacher.device, teacher.size)
    return group.all_gather(log_probabilities(teacher, share, batch_size=batch_size, precision=runtime.precision))


@dataclass(frozen=True)
class EvalResult:
    """Scores by held-out role (None without such a source), and which images are classified correctly, bool [N].

    ``calibration`` is fitted on the validation labels; None without them.
    """

    scores: dict[str, Scores | None]
    correct: dict[str, npt.NDArray[np.bool_]]
    calibration: Calibration | None = None


@dataclass(frozen=True)
class ScoredCheckpoint(Generic[Model]):
    """A trained model with its scores; ``round`` is 0 for teacher and control."""

    round: int
    checkpoint: Model
    result: EvalResult


def score_checkpoint(
    context: RunContext,
    name: str,
    checkpoint: TrainedModel,
    answer: Callable[[Images], Floats] | None = None,
    *,
    passes: int = 0,
) -> EvalResult:
    """Scores on validation and test, with every prediction stored, in the folder ``scores/<name>``.

    ``answer`` gives the checkpoint's log-probabilities [N, K] where they do not come from its network as it is, at
    ``passes`` passes through a network per image.
    """
    inputs = {"checkpoint": checkpoint.fingerprint}
    if answer:
        return _score(context, name, inputs, lambda: answer, passes)
    return _score_models(context, name, inputs, [checkpoint], lambda predictions: predictions[0])


def score_ensemble(
    context: RunContext,
    name: str,
    members: Sequence[TrainedModel],
    weights: Sequence[float] = (),
    mean: Literal["arithmetic", "geometric"] = "arithmetic",
) -> EvalResult:
    """The same for the mean of several checkpoints, as ``mean_log_probabilities`` defines it."""
    fingerprints = [member.fingerprint for member in members]
    inputs = {"checkpoints": fingerprints, "weights": list(weights), "mean": mean}
    return _score_models(
        context, name, inputs, members, lambda predictions: mean_log_probabilities(predictions, weights, mean)
    )


def _score_models(
    context: RunContext,
    name: str,
    inputs: dict[str, Any],
    members: Sequence[TrainedModel],
    combine: Callable[[list[Floats]], Floats],
) -> EvalResult:
    def open_models() -> Callable[[Images], Floats]:
        teachers = [member.teacher(context.device) for member in members]
        return lambda images: combine([predict(context, teacher, images) for teacher in teachers])

    return _score(context, name, inputs, open_models, len(members))


def _score(
    context: RunContext,
    name: str,
    inputs: dict[str, Any],
    open_models: Callable[[], Callable[[Images], Floats]],
    passes: int,
) -> EvalResult:
    """``open_models`` gives what answers for images; each image costs ``passes`` passes through a network."""
    sources = {"validation": context.splits.validation, "test": context.splits.test}
    stage = f"{SCORES}/{name}"
    folder = context.folder_of(stage)
    inputs |= {"precision": context.settings.runtime.precision}
    inputs |= {role: source.fingerprint if source else None for role, source in sources.items()}
    if not context.is_complete(stage, inputs):
        predict_all = open_models()
        by_role = {role: source.predict_and_join(predict_all) for role, source in sources.items() if source}

        def write() -> None:
            classes = context.splits.classes
            scores = {role: score(held.log_probabilities, held.labels, classes) for role, held in by_role.items()}
            write_json(
                folder / "scores.json", {role: to_json(scores[role]) if role in scores else None for role in sources}
            )
            for role, held in by_role.items():
                _write_predictions(folder / f"{role}.parquet", held)
            if "validation" in by_role:
                write_calibration(folder, _calibration(by_role["validation"]))
            predicted = passes * sum(len(held.labels) for held in by_role.values())
            context.commit(SCORES, inputs, StageCost(name=stage, images_predicted=predicted))

        context.engine.group.on_main(write)
    correct = {}
    for role, source in sources.items():
        if source:
            table = read_table(folder / f"{role}.parquet")
            correct[role] = table["label"].to_numpy() == table["prediction"].to_numpy()
    calibration = read_calibration(folder)
    return EvalResult(read_result(dict[str, Scores | None], folder / "scores.json"), correct, calibration)


def _calibration(held: HeldOutPredictions) -> Calibration:
    temperature = fit_temperature(held.log_probabilities, held.labels)
    return Calibration(temperature=temperature, labels=len(held.labels), fitted_on="validation labels")


def _write_predictions(path: Path, held: HeldOutPredictions) -> None:
    table = pa.table(
        {
            "key": list(held.keys),
            "label": held.labels,
            "prediction": held.log_probabilities.argmax(axis=1),
            "confidence": np.exp(held.log_probabilities.max(axis=1)),
        }
    )
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary)
