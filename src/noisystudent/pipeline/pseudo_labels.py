"""The stages between a teacher and its student: label the unlabeled set, select pseudo labels, check them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from noisystudent.artifacts.folder import commit, read_manifest
from noisystudent.data.images import Images
from noisystudent.data.unlabeled import StreamedUnlabeled, UnlabeledData
from noisystudent.evaluation.metrics.diagnostics import label_free_diagnostics
from noisystudent.noise.input import InputNoise
from noisystudent.noise.views import noised
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pseudo_labels import predictions, selection
from noisystudent.pseudo_labels.labeling.label_shards import gather_failures, label
from noisystudent.pseudo_labels.predictions import PREDICTIONS, cut_parts, list_parts, read_copies, read_labels
from noisystudent.pseudo_labels.selection import SELECTION
from noisystudent.random_streams import stream_key


def label_unlabeled(
    context: RunContext, name: str, teacher: Checkpoint, unlabeled: UnlabeledData, *, noise: InputNoise | None = None
) -> Path:
    """The teacher's predictions for every image of a pile, in the folder ``name``.

    ``noise`` is for the ablation only: the teacher then sees noised images and keeps its own noise.
    """
    runtime = context.settings.runtime
    folder = context.folder / name
    inputs: dict[str, Any] = {
        "teacher": teacher.fingerprint,
        "unlabeled": unlabeled.fingerprint,
        "view": {"noise": context.settings.noise.model_dump(), "strength": noise.strength} if noise else "plain",
        "precision": runtime.precision,
    }
    if isinstance(unlabeled, StreamedUnlabeled):
        inputs["files"] = dict(unlabeled.source.files)

    def read(shard: int) -> Images:
        images = unlabeled.read(shard)
        return noised(images, noise, epoch=shard) if noise else images

    def finish() -> None:
        if isinstance(unlabeled, StreamedUnlabeled):
            limit = context.settings.data.max_corrupt_fraction
            stats = [predictions.read_part_stats(path) for path in predictions.list_parts(folder)]
            gather_failures(folder, unlabeled.source, stats, limit)
        commit(folder, PREDICTIONS, inputs)

    if not context.is_done(name, inputs):
        group = context.engine.group
        parts = list(enumerate(cut_parts(len(unlabeled.shard_sizes))))[group.rank :: group.world_size]
        rows = sum(unlabeled.shard_sizes[shard] for _, shards in parts for shard in shards)
        with context.reporter.bar(name, rows, "images") as bar:
            label(
                teacher.teacher(context.device, noised=noise is not None), read, parts, folder,
                batch_size=runtime.label_batch_size, precision=runtime.precision,
                seed=stream_key(context.settings.seed, name), bar=bar,
            )  # fmt: skip
        group.wait()
        group.on_main(finish)
    return folder


def select_from(context: RunContext, name: str, predicted: Path, round_number: int, first: Path | None) -> Path:
    """The selection of a round; ``first`` is round 1's when the images are chosen only once."""
    settings = context.settings
    folder = context.folder / name
    inputs = {
        "predictions": read_manifest(predicted, PREDICTIONS).fingerprint,
        "selection": settings.selection.model_dump(),
        "round": round_number,
        "seed": settings.seed,
        "chosen": read_manifest(first, SELECTION).fingerprint if first else None,
    }
    if not context.is_done(name, inputs):
        parts = predictions.list_parts(predicted)
        classes = context.splits.classes

        def choose() -> None:
            if first:
                selection.reuse(folder, parts, first, classes)
            else:
                selection.select(
                    folder, parts, settings.selection, classes=classes, round_number=round_number, seed=settings.seed
                )
            commit(folder, SELECTION, inputs)

        context.engine.group.on_main(choose)
    return folder


def pseudo_label_accuracy(context: RunContext, predicted: Path, selected: Path) -> dict[str, float | None] | None:
    """How many of the pile's labels, and of the selected ones, are right; None where the truth is not known."""
    truth = context.splits.truth
    if truth is None:
        return None
    labels = np.concatenate([read_labels(path)[0] for path in list_parts(predicted)])
    chosen = np.concatenate([read_copies(path) > 0 for path in list_parts(selected)])
    return {"pseudo_label_top1": truth.accuracy(labels), "selected_top1": truth.accuracy(labels, chosen)}


def diagnose_labels(context: RunContext, predicted: Path, before: Path | None) -> dict[str, float | None]:
    """The label-free signs of a round's labels, beside those of the round ``before``, a part at a time."""
    parts = (
        (*read_labels(path), read_labels(before / path.name)[0] if before else None) for path in list_parts(predicted)
    )
    return label_free_diagnostics(parts, len(context.splits.classes))
