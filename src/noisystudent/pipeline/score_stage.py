"""The scoring stage of a run: a checkpoint's predictions on held-out data, stored and scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from noisystudent.artifacts.folder import atomic_write, commit, read_json, write_json
from noisystudent.data.images import Images
from noisystudent.data.splits import HeldOutPredictions
from noisystudent.evaluation.metrics.ensemble import mean_log_probabilities
from noisystudent.evaluation.metrics.scores import score
from noisystudent.evaluation.predict import log_probabilities
from noisystudent.models.teacher import Teacher
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext

SCORES = "scores"


def predict(context: RunContext, teacher: Teacher, images: Images) -> npt.NDArray[np.float32]:
    """Log-probabilities [N, K] of the teacher, with the run's batch size and precision; each process sees its share."""
    runtime, group = context.settings.runtime, context.engine.group
    share = images.take(np.arange(len(images))[group.share_of(len(images))]) if group.world_size > 1 else images
    return group.all_gather(
        log_probabilities(teacher, share, batch_size=runtime.label_batch_size, precision=runtime.precision)
    )


@dataclass(frozen=True)
class EvalResult:
    """A checkpoint's scores per held-out source, and which images it gets right."""

    scores: dict[str, Any]
    correct: dict[str, npt.NDArray[np.bool_]]


def score_checkpoint(context: RunContext, name: str, checkpoint: Checkpoint) -> EvalResult:
    """Scores on validation and test, with every prediction kept, in the folder ``scores/<name>``."""
    return _score(context, name, {"checkpoint": checkpoint.fingerprint}, [checkpoint], lambda answers: answers[0])


def score_ensemble(
    context: RunContext,
    name: str,
    members: Sequence[Checkpoint],
    weights: Sequence[float] = (),
    mean: Literal["arithmetic", "geometric"] = "arithmetic",
) -> EvalResult:
    """The same of several checkpoints' mean, as ``mean_log_probabilities`` has it."""
    inputs = {"checkpoints": [each.fingerprint for each in members], "weights": list(weights), "mean": mean}
    return _score(context, name, inputs, members, lambda answers: mean_log_probabilities(answers, weights, mean))


def _score(
    context: RunContext,
    name: str,
    inputs: dict[str, Any],
    members: Sequence[Checkpoint],
    combine: Callable[[list[npt.NDArray[np.float32]]], npt.NDArray[np.float32]],
) -> EvalResult:
    sources = {"validation": context.splits.validation, "test": context.splits.test}
    folder = context.folder / "scores" / name
    inputs |= {"precision": context.settings.runtime.precision}
    inputs |= {role: source.fingerprint if source else None for role, source in sources.items()}
    if not context.is_done(f"scores/{name}", inputs):
        teachers = [each.teacher(context.device) for each in members]
        judged = {
            role: source.judge(lambda images: combine([predict(context, each, images) for each in teachers]))
            for role, source in sources.items()
            if source
        }

        def write() -> None:
            classes = context.splits.classes
            scores = {role: score(each.log_probabilities, each.labels, classes) for role, each in judged.items()}
            write_json(folder / "scores.json", {role: scores.get(role) for role in sources})
            for role, each in judged.items():
                _write_judged(folder / f"{role}.parquet", each)
            commit(folder, SCORES, inputs)

        context.engine.group.on_main(write)
    scores = read_json(folder / "scores.json")
    correct = {}
    for role, source in sources.items():
        if source:
            table = pq.read_table(folder / f"{role}.parquet")
            correct[role] = table["label"].to_numpy() == table["prediction"].to_numpy()
    return EvalResult(scores, correct)


def _write_judged(path: Path, judged: HeldOutPredictions) -> None:
    table = pa.table(
        {
            "key": list(judged.keys),
            "label": judged.labels,
            "prediction": judged.log_probabilities.argmax(axis=1),
            "confidence": np.exp(judged.log_probabilities.max(axis=1)),
        }
    )
    with atomic_write(path) as temporary:
        pq.write_table(table, temporary)
