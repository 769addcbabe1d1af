"""The stages between a teacher and its student: label the unlabeled set, select pseudo labels, check them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noisystudent.artifacts.folder import read_manifest, write_json
from noisystudent.data.images import Failure, Images
from noisystudent.data.unlabeled import InMemoryUnlabeled, StreamedUnlabeled, UnlabeledData
from noisystudent.display.sources import unreadable_sentence
from noisystudent.evaluation.metrics.diagnostics import label_free_diagnostics
from noisystudent.evaluation.metrics.drift import signs_of_drift
from noisystudent.noise.input import InputNoise
from noisystudent.noise.views import noised
from noisystudent.pipeline.checkpoints import Labeler
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.extensions import identity_of
from noisystudent.pipeline.labels.foreign import NetworkTypicality
from noisystudent.pseudo_labels import predictions
from noisystudent.pseudo_labels.labeling.label_shards import gather_failures, label
from noisystudent.pseudo_labels.predictions import PREDICTIONS, cut_parts, list_parts, read_copies, read_labels
from noisystudent.pseudo_labels.selection.custom import select_custom
from noisystudent.pseudo_labels.selection.parts import SELECTION
from noisystudent.pseudo_labels.selection.results import SelectionSummary
from noisystudent.pseudo_labels.selection.select import reuse
from noisystudent.pseudo_labels.selection.select import select as select_rows
from noisystudent.pseudo_labels.shift import ClassShares
from noisystudent.random_streams import stream_key
from noisystudent.results.run import StageCost
from noisystudent.runtime.device import images_per_pass


def label_unlabeled(
    context: RunContext,
    stage: str,
    teacher: Labeler,
    unlabeled: UnlabeledData,
    *,
    noise: InputNoise | None = None,
    typicality: NetworkTypicality | None = None,
    passes: int = 1,
) -> Path:
    """The teacher's predictions for every unlabeled image, in the folder of ``stage``.

    ``passes``: the networks that an image goes through to be labeled. ``typicality`` is stored too. ``noise`` is for an
    ablation only: the teacher then sees noised images and keeps its own model noise.
    """
    runtime, folder = context.settings.runtime, context.folder_of(stage)
    inputs: dict[str, Any] = {
        "teacher": teacher.fingerprint,
        "unlabeled": unlabeled.fingerprint,
        "classes": list(context.splits.classes),
        "view": {"noise": context.settings.noise.deciding(), "strength": noise.strength} if noise else "plain",
        "precision": runtime.precision,
    }
    if typicality:
        inputs["typicality"] = typicality.fingerprint
    if isinstance(unlabeled, StreamedUnlabeled):
        inputs["files"] = dict(unlabeled.source.files)

    def read(shard: int) -> Images:
        images = unlabeled.read(shard)
        return noised(images, noise, epoch=shard) if noise else images

    def finish() -> None:
        stats = [predictions.read_part_stats(path) for path in list_parts(folder)]
        if isinstance(unlabeled, StreamedUnlabeled):
            gather_failures(folder, unlabeled.source, stats, context.settings.data.max_corrupt_fraction)
            if failures := [Failure(key, reason) for key, reason in predictions.read_failed(folder)]:
                context.reporter.say(f"{stage}: {len(failures):,} unreadable: {unreadable_sentence(failures)}")
        unread = len(unlabeled.images.failures) if isinstance(unlabeled, InMemoryUnlabeled) else 0
        summary = predictions.summarize(stats, len(context.splits.classes), failed=unread)
        write_json(folder / predictions.SUMMARY, summary)
        images = sum(sum(part.rows) for part in stats)
        predicted = passes * images + (images + typicality.compared if typicality else 0)
        context.commit(PREDICTIONS, inputs, StageCost(name=stage, images_predicted=predicted))

    if not context.is_complete(stage, inputs):
        group = context.engine.group
        parts = list(enumerate(cut_parts(len(unlabeled.shard_sizes))))[group.rank :: group.world_size]
        rows = sum(unlabeled.shard_sizes[shard] for _, shards in parts for shard in shards)
        with context.reporter.bar(stage, rows, "images") as bar:
            model = teacher.teacher(context.device, noised=noise is not None)
            label(
                model, read, parts, folder,
                batch_size=images_per_pass(runtime, model.device, model.size), precision=runtime.precision,
                seed=stream_key(context.settings.seed, stage), typicality=typicality.open() if typicality else None,
                bar=bar,
            )  # fmt: skip
        group.wait()
        group.on_main(finish)
    return folder


def selection_identity(context: RunContext) -> object:
    """What identifies how pseudo labels are selected: the user's own rule, else the settings."""
    rule = context.extensions.select
    return identity_of(rule) if rule else context.settings.selection.deciding()


def select_pseudo_labels(
    context: RunContext,
    stage: str,
    predictions_folder: Path,
    round_number: int,
    first: Path | None = None,
    aim: ClassShares | None = None,
) -> Path:
    """The selection of a round, in the folder of ``stage``; ``first``: round 1's, where images are chosen only once.

    ``aim``: the class shares that it aims at; None is the rule's own aim.
    """
    settings, folder, rule = context.settings, context.folder_of(stage), context.extensions.select
    inputs = {
        "predictions": read_manifest(predictions_folder, PREDICTIONS).fingerprint,
        "selection": selection_identity(context),
        "round": round_number,
        "seed": settings.seed,
        "chosen": read_manifest(first, SELECTION).fingerprint if first else None,
    }
    if aim:
        inputs["shares"] = aim.shares
    if not context.is_complete(stage, inputs):
        parts, classes = list_parts(predictions_folder), context.splits.classes

        def write() -> None:
            if rule:
                select_custom(folder, parts, rule, name=identity_of(rule), classes=classes, round_number=round_number)
            elif first:
                reuse(folder, parts, first, classes)
            else:
                select_rows(
                    folder,
                    parts,
                    settings.selection,
                    classes=classes,
                    round_number=round_number,
                    seed=settings.seed,
                    shares=aim.values if aim else None,
                )
            context.commit(SELECTION, inputs, StageCost(name=stage))

        context.engine.group.on_main(write)
    return folder


def pseudo_label_accuracy(
    context: RunContext, predictions_folder: Path, selection_folder: Path
) -> dict[str, float | None] | None:
    """Accuracy of all pseudo labels and of the selected ones; None where the true classes are not known."""
    truth = context.splits.truth
    if truth is None:
        return None
    labels = np.concatenate([read_labels(path)[0] for path in list_parts(predictions_folder)])
    selected = np.concatenate([read_copies(path) > 0 for path in list_parts(selection_folder)])
    return {"pseudo_label_top1": truth.accuracy(labels), "selected_top1": truth.accuracy(labels, selected)}


def say_drift(context: RunContext, selections: Sequence[SelectionSummary]) -> tuple[str, ...]:
    """The signs that pseudo labels drift, from the selections of all rounds until the present one; also printed."""
    counts = [[row.predicted for row in selection.per_class] for selection in selections]
    classes = context.splits.classes
    labels = np.bincount(context.splits.labeled.labels, minlength=len(classes)).tolist()
    signs = signs_of_drift(counts, labels, classes)
    for sign in signs:
        context.reporter.say(f"round {len(counts)}: a sign of drift: {sign}")
    return signs


def diagnose_labels(context: RunContext, predictions_folder: Path, previous: Path | None) -> dict[str, float | None]:
    """Label-free diagnostics of a round's predictions, beside those of the ``previous`` round, one part at a time."""
    parts = (
        (*read_labels(path), read_labels(previous / path.name)[0] if previous else None)
        for path in list_parts(predictions_folder)
    )
    return label_free_diagnostics(parts, len(context.splits.classes))
