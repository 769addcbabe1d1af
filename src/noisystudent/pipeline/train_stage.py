"""The stages of a run that hold a model: train and score. Each turns finished folders into the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from noisystudent.artifacts.folder import commit, naming_a_full_disk, read_json, replacing, write_json
from noisystudent.data.images import Pictures
from noisystudent.data.splits import Judged
from noisystudent.evaluation.metrics.accuracy import top_k
from noisystudent.evaluation.metrics.calibration import negative_log_likelihood
from noisystudent.evaluation.metrics.ensemble import mean_log_probabilities
from noisystudent.evaluation.metrics.scores import score
from noisystudent.evaluation.predict import log_probabilities
from noisystudent.losses.distilled import distilled
from noisystudent.losses.objectives import Terms, noisy_student, supervised
from noisystudent.models.checkpoint import CHECKPOINT, load_classifier, save_classifier
from noisystudent.models.classifier import Classifier, create_classifier
from noisystudent.models.create import count_parameters
from noisystudent.models.settings import ModelPlan
from noisystudent.models.teacher import Teacher
from noisystudent.noise.custom import describe
from noisystudent.pipeline.checkpoints import TRAINING, Trained, read_trained
from noisystudent.pipeline.context import Workshop
from noisystudent.pipeline.feeding import feed_stage, size_of
from noisystudent.pipeline.train_data import Lesson
from noisystudent.random_streams import stream_key
from noisystudent.runtime.device import seeded
from noisystudent.training.loader import Batch
from noisystudent.training.loop import METRICS, fit
from noisystudent.training.state import STATE

SCORES = "scores"


def train(
    workshop: Workshop, name: str, plan: ModelPlan, lesson: Lesson, strength: float, *, start: Trained | None = None
) -> Trained:
    """Trains one model on ``lesson`` under noise into the folder ``name``, or finds it done.

    ``start`` is a checkpoint of the same model to start from; None starts from scratch (or from published weights
    when ``model.pretrained`` asks for them).
    """
    settings = workshop.settings
    folder = workshop.folder / name
    inputs = {
        "stage": name,
        "seed": settings.seed,
        **lesson.inputs,
        "objective": lesson.objective,
        "model": {"name": plan.name, "size": size_of(workshop, plan), "channels": workshop.roles.format.channels,
                  "pretrained": settings.model.pretrained, "start": start.fingerprint if start else None},
        "noise": {**settings.noise.model_dump(exclude={"preset", "strength", "strengths", "teacher"}),
                  **_model_noise(workshop, plan)},
        "own_noise": describe(workshop.own_noise) if workshop.own_noise else None,
        "strength": strength,
        "train": settings.train.model_dump(exclude={"save_every", "evaluate_every", "warm_start", "ratio"}),
        "batch": lesson.batch,
        "precision": settings.runtime.precision,
    }  # fmt: skip
    if workshop.is_done(name, inputs):
        return read_trained(name, folder)
    key = stream_key(settings.seed, name)
    classifier = new_classifier(workshop, plan, key, start)
    batches = feed_stage(workshop, name, plan, lesson, strength)
    objective = objective_of(workshop, lesson)
    with workshop.reporter.bar(name, settings.train.last, "steps") as bar:
        trained, seconds = fit(
            classifier, batches, objective, settings.train, folder,
            seed=key, engine=workshop.engine, evaluate=_watch(workshop), bar=bar,
        )  # fmt: skip
    steps = settings.train.last
    training = {"model": plan.name, "parameters": count_parameters(trained), "steps": steps,
                "passes": steps * sum(lesson.batch.values()), "seconds": round(seconds, 2)}  # fmt: skip

    def finish() -> None:
        with naming_a_full_disk(folder / "model.safetensors"):
            save_classifier(trained, folder, extra={"label_smoothing": lesson.objective["label_smoothing"]})
        write_json(folder / TRAINING, training)
        commit(folder, CHECKPOINT, inputs, volatile=(METRICS, TRAINING, STATE))
        (folder / STATE).unlink(missing_ok=True)

    workshop.engine.ranks.first_says(finish)
    return read_trained(name, folder)


def _model_noise(workshop: Workshop, plan: ModelPlan) -> dict[str, float]:
    """Dropout and stochastic depth: the family's where it has them, but a setting of 0 always switches off."""
    noise = workshop.settings.noise
    dropout = noise.dropout if plan.dropout is None or noise.dropout == 0 else plan.dropout
    depth = noise.stochastic_depth
    depth = depth if plan.stochastic_depth is None or depth == 0 else plan.stochastic_depth
    return {"dropout": dropout, "stochastic_depth": depth}


def new_classifier(workshop: Workshop, plan: ModelPlan, key: int, start: Trained | None) -> Classifier:
    """The model of ``plan`` with weights drawn by ``key``, or with those of ``start``."""
    with seeded(stream_key(key, "weights"), workshop.device):
        classifier = create_classifier(
            plan.name,
            classes=workshop.roles.classes,
            channels=workshop.roles.format.channels,
            size=size_of(workshop, plan),
            pretrained=workshop.settings.model.pretrained,
            **_model_noise(workshop, plan),
        )
    if start:
        classifier.load_state_dict(load_classifier(start.folder).state_dict())
    return classifier


def objective_of(workshop: Workshop, lesson: Lesson) -> Callable[[Tensor, Batch], Terms]:
    """Distillation's objective for a lesson that has it; else the supervised one, or Noisy Student's for two parts."""
    weighting, distillation = workshop.settings.objective.weighting, lesson.distillation
    steps = workshop.settings.train.steps
    if distillation:
        return lambda logits, batch: distilled(
            logits, batch.targets, batch.labeled, batch.teachers, distillation, progress=(batch.step + 1) / steps
        )
    if len(lesson.batch) == 1:
        return lambda logits, batch: supervised(logits, batch.targets)
    return lambda logits, batch: noisy_student(logits, batch.targets, batch.labeled, weighting)


def _watch(workshop: Workshop) -> Callable[[Classifier], dict[str, float]] | None:
    """Validation scores while training, for the curves in metrics.jsonl; they choose nothing."""
    validation = workshop.roles.validation
    if validation is None or not workshop.settings.train.evaluate_every:
        return None

    def evaluate(classifier: Classifier) -> dict[str, float]:
        judged = validation.judge(lambda pictures: predict(workshop, Teacher(classifier), pictures))
        return {
            "validation_top1": top_k(judged.log_probabilities, judged.labels, 1),
            "validation_nll": negative_log_likelihood(judged.log_probabilities, judged.labels),
        }

    return evaluate


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
