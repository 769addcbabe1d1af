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

from noisystudent.artifacts.folder import commit, read_json, replacing, write_json
from noisystudent.data.images import Pictures
from noisystudent.data.splits import Judged
from noisystudent.evaluation.metrics.ensemble import mean_log_probabilities
from noisystudent.evaluation.metrics.scores import score
from noisystudent.evaluation.predict import log_probabilities
from noisystudent.models.teacher import Teacher
from noisystudent.pipeline.checkpoints import Trained
from noisystudent.pipeline.context import Workshop

SCORES = "scores"


def predict(workshop: Workshop, teacher: Teacher, pictures: Pictures) -> npt.NDArray[np.float32]:
    """Log-probabilities [N, K] of the teacher, with the run's batch size and precision; each process sees its share."""
    runtime, ranks = workshop.settings.runtime, workshop.engine.ranks
    share = pictures.take(np.arange(len(pictures))[ranks.share_of(len(pictures))]) if ranks.count > 1 else pictures
    return ranks.gathered(
        log_probabilities(teacher, share, batch_size=runtime.label_batch_size, precision=runtime.precision)
    )


@dataclass(frozen=True)
class Scored:
    """A checkpoint's scores per held-out source, and which pictures it gets right."""

    scores: dict[str, Any]
    right: dict[str, npt.NDArray[np.bool_]]


def score_checkpoint(workshop: Workshop, name: str, checkpoint: Trained) -> Scored:
    """Scores on validation and test, with every prediction kept, in the folder ``scores/<name>``."""
    return _score(workshop, name, {"checkpoint": checkpoint.fingerprint}, [checkpoint], lambda answers: answers[0])


def score_ensemble(
    workshop: Workshop,
    name: str,
    members: Sequence[Trained],
    weights: Sequence[float] = (),
    mean: Literal["arithmetic", "geometric"] = "arithmetic",
) -> Scored:
    """The same of several checkpoints' mean, as ``mean_log_probabilities`` has it."""
    inputs = {"checkpoints": [each.fingerprint for each in members], "weights": list(weights), "mean": mean}
    return _score(workshop, name, inputs, members, lambda answers: mean_log_probabilities(answers, weights, mean))


def _score(
    workshop: Workshop,
    name: str,
    inputs: dict[str, Any],
    members: Sequence[Trained],
    combine: Callable[[list[npt.NDArray[np.float32]]], npt.NDArray[np.float32]],
) -> Scored:
    sources = {"validation": workshop.roles.validation, "test": workshop.roles.test}
    folder = workshop.folder / "scores" / name
    inputs |= {"precision": workshop.settings.runtime.precision}
    inputs |= {role: source.fingerprint if source else None for role, source in sources.items()}
    if not workshop.is_done(f"scores/{name}", inputs):
        teachers = [each.teacher(workshop.device) for each in members]
        judged = {
            role: source.judge(lambda pictures: combine([predict(workshop, each, pictures) for each in teachers]))
            for role, source in sources.items()
            if source
        }

        def write() -> None:
            classes = workshop.roles.classes
            scores = {role: score(each.log_probabilities, each.labels, classes) for role, each in judged.items()}
            write_json(folder / "scores.json", {role: scores.get(role) for role in sources})
            for role, each in judged.items():
                _write_judged(folder / f"{role}.parquet", each)
            commit(folder, SCORES, inputs)

        workshop.engine.ranks.first_says(write)
    scores = read_json(folder / "scores.json")
    right = {}
    for role, source in sources.items():
        if source:
            table = pq.read_table(folder / f"{role}.parquet")
            right[role] = table["label"].to_numpy() == table["prediction"].to_numpy()
    return Scored(scores, right)


def _write_judged(path: Path, judged: Judged) -> None:
    table = pa.table(
        {
            "key": list(judged.keys),
            "label": judged.labels,
            "prediction": judged.log_probabilities.argmax(axis=1),
            "confidence": np.exp(judged.log_probabilities.max(axis=1)),
        }
    )
    with replacing(path) as temporary:
        pq.write_table(table, temporary)
