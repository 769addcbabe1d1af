"""The stages between a teacher and its student: label the unlabeled set, select pseudo labels, check them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from noisystudent.artifacts.folder import commit, read_manifest
from noisystudent.data.images import Pictures
from noisystudent.data.unlabeled import Pile, StreamedPile
from noisystudent.evaluation.metrics.diagnostics import label_free_signs
from noisystudent.noise.input import InputNoise
from noisystudent.noise.views import noised
from noisystudent.pipeline.checkpoints import Trained
from noisystudent.pipeline.context import Workshop
from noisystudent.pseudo_labels import predictions, selection
from noisystudent.pseudo_labels.labeling.label_shards import gather_failures, label
from noisystudent.pseudo_labels.predictions import PREDICTIONS, cut_parts, list_parts, read_copies, read_labels
from noisystudent.pseudo_labels.selection import SELECTION
from noisystudent.random_streams import stream_key


def label_pile(workshop: Workshop, name: str, teacher: Trained, pile: Pile, *, noise: InputNoise | None = None) -> Path:
    """The teacher's predictions for every picture of a pile, in the folder ``name``.

    ``noise`` is for the ablation only: the teacher then sees noised pictures and keeps its own noise.
    """
    runtime = workshop.settings.runtime
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


def judge_labels(workshop: Workshop, predicted: Path, selected: Path) -> dict[str, float | None] | None:
    """How many of the pile's labels, and of the selected ones, are right; None where the truth is not known."""
    truth = workshop.roles.truth
    if truth is None:
        return None
    labels = np.concatenate([read_labels(path)[0] for path in list_parts(predicted)])
    chosen = np.concatenate([read_copies(path) > 0 for path in list_parts(selected)])
    return {"pseudo_label_top1": truth.accuracy(labels), "selected_top1": truth.accuracy(labels, chosen)}


def find_signs(workshop: Workshop, predicted: Path, before: Path | None) -> dict[str, float | None]:
    """The label-free signs of a round's labels, beside those of the round ``before``, a part at a time."""
    parts = (
        (*read_labels(path), read_labels(before / path.name)[0] if before else None) for path in list_parts(predicted)
    )
    return label_free_signs(parts, len(workshop.roles.classes))
