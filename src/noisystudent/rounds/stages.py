"""The stages of a run: train, label, select, score. Each turns finished folders into the next one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from noisystudent import predictions, selection
from noisystudent.artifacts import commit, naming_a_full_disk, read_json, read_manifest, replacing, write_json
from noisystudent.data.pictures import Pictures
from noisystudent.data.pile import StreamedPile
from noisystudent.data.roles import Judged
from noisystudent.evaluation.predict import log_probabilities
from noisystudent.evaluation.scores import score
from noisystudent.labeling.shards import gather_failures, label
from noisystudent.losses.objective import Terms, noisy_student, supervised
from noisystudent.models.checkpoint import CHECKPOINT, load_classifier, save_classifier
from noisystudent.models.classifier import Classifier, create_classifier
from noisystudent.models.create import count_parameters
from noisystudent.models.settings import ModelPlan
from noisystudent.models.teacher import NoisedTeacher, Teacher
from noisystudent.noise.draws import Draws
from noisystudent.noise.input import InputNoise
from noisystudent.noise.mixing import build_mixing
from noisystudent.noise.own import OwnNoise, describe
from noisystudent.noise.views import noised
from noisystudent.predictions import PREDICTIONS, cut_parts
from noisystudent.randomness import stream_key
from noisystudent.rounds.lessons import Lesson
from noisystudent.rounds.workshop import Workshop
from noisystudent.runtime.device import seeded
from noisystudent.selection import SELECTION
from noisystudent.training.batches import Batch, Batches
from noisystudent.training.fit import METRICS, fit
from noisystudent.training.state import STATE

SCORES = "scores"
TRAINING = "training.json"


@dataclass(frozen=True)
class Trained:
    """A finished checkpoint of the run."""

    name: str
    folder: Path
    fingerprint: str
    model: str
    parameters: int
    passes: int
    seconds: float

    def teacher(self, device: torch.device, *, noised: bool = False) -> Teacher:
        """The checkpoint as a teacher; ``noised`` keeps its dropout and stochastic depth on."""
        kind = NoisedTeacher if noised else Teacher
        return kind(load_classifier(self.folder).to(device))


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
        "model": {"name": plan.name, "size": _size(workshop, plan), "channels": workshop.roles.format.channels,
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
    noise = input_noise(workshop, name, plan, strength)
    mixing = build_mixing(settings.noise, Draws(settings.seed, f"mixing/{name}"))
    own_noise = OwnNoise(workshop.own_noise, seed=key) if workshop.own_noise else None
    batches = Batches(lesson.feeds(key), noise, own_noise=own_noise, mixing=mixing, division=workshop.division)
    objective = objective_of(workshop, lesson)
    with workshop.reporter.bar(name, settings.train.steps, "steps") as bar:
        trained, seconds = fit(
            classifier, batches, objective, settings.train, folder,
            seed=key, engine=workshop.engine, evaluate=_watch(workshop), bar=bar,
        )  # fmt: skip
    training = {"model": plan.name, "parameters": count_parameters(trained), "steps": settings.train.steps,
                "passes": settings.train.steps * batches.size, "seconds": round(seconds, 2)}  # fmt: skip

    def finish() -> None:
        with naming_a_full_disk(folder / "model.safetensors"):
            save_classifier(trained, folder)
        write_json(folder / TRAINING, training)
        commit(folder, CHECKPOINT, inputs, volatile=(METRICS, TRAINING, STATE))
        (folder / STATE).unlink(missing_ok=True)

    workshop.engine.ranks.first_says(finish)
    return read_trained(name, folder)


def read_trained(name: str, folder: Path) -> Trained:
    """A finished checkpoint of a run, from its folder."""
    manifest = read_manifest(folder, CHECKPOINT)
    facts = read_json(folder / TRAINING)
    return Trained(
        name, folder, manifest.fingerprint, facts["model"], facts["parameters"], facts["passes"], facts["seconds"]
    )


def _size(workshop: Workshop, plan: ModelPlan) -> int:
    return plan.size or workshop.roles.format.size


def _model_noise(workshop: Workshop, plan: ModelPlan) -> dict[str, float]:
    """Dropout and stochastic depth: the family's where it has them, but a setting of 0 always switches off."""
    noise = workshop.settings.noise
    dropout = noise.dropout if plan.dropout is None or noise.dropout == 0 else plan.dropout
    depth = noise.stochastic_depth
    depth = depth if plan.stochastic_depth is None or depth == 0 else plan.stochastic_depth
    return {"dropout": dropout, "stochastic_depth": depth}


def input_noise(workshop: Workshop, name: str, plan: ModelPlan, strength: float) -> InputNoise:
    """The noise that the stage ``name`` puts on its pictures."""
    return InputNoise(
        workshop.settings.noise,
        size=_size(workshop, plan),
        strength=strength,
        draws=Draws(workshop.settings.seed, f"input-noise/{name}"),
        stored_edge=workshop.roles.format.stored_edge,
    )


def new_classifier(workshop: Workshop, plan: ModelPlan, key: int, start: Trained | None) -> Classifier:
    """The model of ``plan`` with weights drawn by ``key``, or with those of ``start``."""
    with seeded(stream_key(key, "weights"), workshop.device):
        classifier = create_classifier(
            plan.name,
            classes=workshop.roles.classes,
            channels=workshop.roles.format.channels,
            size=_size(workshop, plan),
            pretrained=workshop.settings.model.pretrained,
            **_model_noise(workshop, plan),
        )
    if start:
        classifier.load_state_dict(load_classifier(start.folder).state_dict())
    return classifier


def objective_of(workshop: Workshop, lesson: Lesson) -> Callable[[Tensor, Batch], Terms]:
    """The supervised objective for one part, the Noisy Student one for two."""
    weighting = workshop.settings.objective.weighting
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
        return {"validation_top1": float((judged.log_probabilities.argmax(axis=1) == judged.labels).mean())}

    return evaluate


def predict(workshop: Workshop, teacher: Teacher, pictures: Pictures) -> npt.NDArray[np.float32]:
    """Log-probabilities [N, K] of the teacher, with the run's batch size and precision; each process sees its share."""
    runtime, ranks = workshop.settings.runtime, workshop.engine.ranks
    share = pictures.take(np.arange(len(pictures))[ranks.share_of(len(pictures))]) if ranks.count > 1 else pictures
    return ranks.gathered(
        log_probabilities(teacher, share, batch_size=runtime.label_batch_size, precision=runtime.precision)
    )


def label_pile(workshop: Workshop, name: str, teacher: Trained, noise: InputNoise | None) -> Path:
    """The teacher's predictions for every unlabeled picture, in the folder ``name``.

    ``noise`` is for the ablation only: the teacher then sees noised pictures and keeps its own noise.
    """
    pile, runtime = workshop.roles.unlabeled, workshop.settings.runtime
    folder = workshop.folder / name
    inputs: dict[str, Any] = {
        "teacher": teacher.fingerprint,
        "unlabeled": pile.fingerprint,
        "view": {"noise": workshop.settings.noise.model_dump(), "strength": noise.strength} if noise else "plain",
        "precision": runtime.precision,
    }
    if isinstance(pile, StreamedPile):
        inputs["files"] = dict(pile.source.files)

    def read(shard: int) -> Pictures:
        pictures = pile.read(shard)
        return noised(pictures, noise, epoch=shard) if noise else pictures

    def finish() -> None:
        if isinstance(pile, StreamedPile):
            limit = workshop.settings.data.max_corrupt_fraction
            accounts = [predictions.account_for(path) for path in predictions.list_parts(folder)]
            gather_failures(folder, pile.source, accounts, limit)
        commit(folder, PREDICTIONS, inputs)

    if not workshop.is_done(name, inputs):
        ranks = workshop.engine.ranks
        parts = list(enumerate(cut_parts(len(pile.shard_sizes))))[ranks.rank :: ranks.count]
        rows = sum(pile.shard_sizes[shard] for _, shards in parts for shard in shards)
        with workshop.reporter.bar(name, rows, "pictures") as bar:
            label(
                teacher.teacher(workshop.device, noised=noise is not None), read, parts, folder,
                batch_size=runtime.label_batch_size, precision=runtime.precision,
                seed=stream_key(workshop.settings.seed, name), bar=bar,
            )  # fmt: skip
        ranks.wait()
        ranks.first_says(finish)
    return folder


def select_from(workshop: Workshop, name: str, predicted: Path, round_number: int, first: Path | None) -> Path:
    """The selection of a round; ``first`` is round 1's when the pictures are chosen only once."""
    settings = workshop.settings
    folder = workshop.folder / name
    inputs = {
        "predictions": read_manifest(predicted, PREDICTIONS).fingerprint,
        "selection": settings.selection.model_dump(),
        "round": round_number,
        "seed": settings.seed,
        "chosen": read_manifest(first, SELECTION).fingerprint if first else None,
    }
    if not workshop.is_done(name, inputs):
        parts = predictions.list_parts(predicted)
        classes = workshop.roles.classes

        def choose() -> None:
            if first:
                selection.reuse(folder, parts, first, classes)
            else:
                selection.select(
                    folder, parts, settings.selection, classes=classes, round_number=round_number, seed=settings.seed
                )
            commit(folder, SELECTION, inputs)

        workshop.engine.ranks.first_says(choose)
    return folder


@dataclass(frozen=True)
class Scored:
    """A checkpoint's scores per held-out source, and which pictures it gets right."""

    scores: dict[str, Any]
    right: dict[str, npt.NDArray[np.bool_]]


def score_checkpoint(workshop: Workshop, name: str, checkpoint: Trained) -> Scored:
    """Scores on validation and test, with every prediction kept, in the folder ``scores/<name>``."""
    sources = {"validation": workshop.roles.validation, "test": workshop.roles.test}
    folder = workshop.folder / "scores" / name
    inputs: dict[str, Any] = {"checkpoint": checkpoint.fingerprint, "precision": workshop.settings.runtime.precision}
    inputs |= {role: source.fingerprint if source else None for role, source in sources.items()}
    if not workshop.is_done(f"scores/{name}", inputs):
        teacher = checkpoint.teacher(workshop.device)
        judged = {
            role: source.judge(lambda pictures: predict(workshop, teacher, pictures))
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
