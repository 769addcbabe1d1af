"""What a training stage learns from: which images, how many of each kind per step, and their target probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noisystudent.artifacts.folder import read_manifest, require_inputs
from noisystudent.artifacts.typed_json import read_result
from noisystudent.data.images import content_fingerprint
from noisystudent.data.unlabeled import InMemoryUnlabeled, StreamedUnlabeled
from noisystudent.errors import DataError, MismatchError, NothingSelectedError, SettingsError
from noisystudent.losses.losses import apply_temperature, smoothed_one_hot
from noisystudent.losses.settings import NOT_OF_A_STAGE, DistillationSettings, ObjectiveSettings, OnlineSettings
from noisystudent.pipeline.checkpoints import TrainedModel
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.stages.streamed_labels import StreamedLabels
from noisystudent.pseudo_labels import predictions
from noisystudent.pseudo_labels.predictions import PREDICTIONS
from noisystudent.pseudo_labels.selection.class_shares import Shares
from noisystudent.pseudo_labels.selection.parts import SELECTION
from noisystudent.pseudo_labels.selection.results import SelectionSummary
from noisystudent.training.loader import LABELED, PSEUDO, UNSHARDED, BatchStream, InMemoryStream, Ints
from noisystudent.training.sampler import WindowedSampler
from noisystudent.training.settings import TrainSettings
from noisystudent.training.streaming import ShardStream

Streams = Callable[[int], tuple[BatchStream, ...]]  # from the seed of a stage's order to its streams


@dataclass(frozen=True)
class TeacherRef:
    """A teacher of a distillation, and the stages that cache its predictions where they are cached."""

    checkpoint: TrainedModel
    on_labeled: str
    on_unlabeled: str


@dataclass(frozen=True)
class TrainSpec:
    """What a stage trains on.

    ``batch``: images per step by stream; ``streams``: the streams, for a seed; ``inputs``: fingerprints of the data,
    for the stage's manifest; ``objective``: its settings, for the manifest; ``labeled``: rows of the labeled images,
    int64 [N]; ``shares``: of the classes in a batch, float64 [K]; ``distillation`` and ``teachers``: how and by whom
    the student is taught, where labels and pseudo labels are not all; ``online``: how a student learns from its own
    answers to ``unlabeled`` images.
    """

    batch: dict[str, int]
    streams: Streams
    inputs: dict[str, Any]
    objective: dict[str, Any]
    labeled: Ints
    shares: Shares
    distillation: DistillationSettings | None = None
    teachers: tuple[TeacherRef, ...] = ()
    online: OnlineSettings | None = None
    unlabeled: int = 0

    def with_teachers(self, distillation: DistillationSettings, teachers: Sequence[TeacherRef]) -> TrainSpec:
        """The same images with a distillation objective; teachers are dropped where the method needs none."""
        assert distillation.method != "none"
        teachers = tuple(teachers) if distillation.needs_teacher else ()
        objective = {
            "label_smoothing": self.objective["label_smoothing"],
            "distillation": distillation.model_dump(exclude={"preset", "cache", *NOT_OF_A_STAGE}),
            "teachers": [teacher.checkpoint.fingerprint for teacher in teachers],
        }
        return replace(self, objective=objective, distillation=distillation, teachers=teachers)


def supervised_spec(context: RunContext, rows: Ints | None = None) -> TrainSpec:
    """The labeled images alone, all or those in ``rows``: for teacher, control and the search for a noise strength."""
    settings, labeled = context.settings, context.splits.labeled
    rows = np.arange(len(labeled)) if rows is None else rows
    batch = {LABELED: settings.train.batch_size}
    targets = labeled_targets(context)
    inputs = {"labeled": content_fingerprint(labeled.take(rows))}

    def streams(seed: int) -> tuple[BatchStream, ...]:
        return (InMemoryStream(LABELED, context.buffer, targets, rows, batch[LABELED], seed=seed),)

    objective = {"label_smoothing": settings.objective.label_smoothing}
    if settings.objective.logit_adjustment:
        objective["logit_adjustment"] = settings.objective.logit_adjustment
    return TrainSpec(batch, streams, inputs, objective, rows, labeled_shares(context, rows))


def transfer_spec(context: RunContext) -> TrainSpec:
    """All labeled and all unlabeled images, without pseudo labels: what a distillation shows its teachers.

    Raises ``DataError`` without any images, ``SettingsError`` for an unlabeled set that does not fit into memory.
    """
    settings, splits = context.settings, context.splits
    if not isinstance(splits.unlabeled, InMemoryUnlabeled):
        raise SettingsError(
            "distill keeps its images in memory, and the unlabeled ones are streamed; raise data.memory_limit_gb, give "
            "fewer images, or use run with distillation.method, which streams them."
        )
    labeled, total = len(splits.labeled), len(context.buffer)
    if not total:
        raise DataError("there are no images to distill on: neither labeled nor unlabeled ones. Give a source.")
    rows = {LABELED: np.arange(labeled), PSEUDO: np.arange(labeled, total)}
    both = student_batch(settings.train, 1)  # a distillation has one ratio
    batch = both if 0 < labeled < total else dict.fromkeys(rows, settings.train.batch_size)
    batch = {name: count for name, count in batch.items() if len(rows[name])}
    targets = labeled_targets(context)
    inputs = {"labeled": content_fingerprint(splits.labeled), "unlabeled": splits.unlabeled.fingerprint}

    def streams(seed: int) -> tuple[BatchStream, ...]:
        return tuple(
            InMemoryStream(name, context.buffer, targets, rows[name], count, seed=seed) for name, count in batch.items()
        )

    objective = {"label_smoothing": settings.objective.label_smoothing}
    return TrainSpec(batch, streams, inputs, objective, np.arange(labeled), labeled_shares(context, rows[LABELED]))


def student_spec(context: RunContext, predictions_folder: Path, selection_folder: Path, round_number: int) -> TrainSpec:
    """The labeled images and the selected pseudo labels, in the ratio that the settings name for a round."""
    batch = student_batch(context.settings.train, round_number)
    return _pseudo_label_spec(context, predictions_folder, selection_folder, batch)


def pretraining_spec(
    context: RunContext, predictions_folder: Path, selection_folder: Path, round_number: int
) -> TrainSpec:
    """The selected pseudo labels alone, as many per step as a batch holds, or as lie on top of a labeled batch."""
    train = context.settings.train
    batch = student_batch(train, round_number)[PSEUDO] if train.batch == "labeled" else train.batch_size
    return _pseudo_label_spec(context, predictions_folder, selection_folder, {PSEUDO: batch})


def _pseudo_label_spec(
    context: RunContext, predictions_folder: Path, selection_folder: Path, batch: dict[str, int]
) -> TrainSpec:
    """Selected pseudo labels, with the labeled images where ``batch`` has some."""
    settings, unlabeled = context.settings, context.splits.unlabeled
    predictions_fingerprint = read_manifest(predictions_folder, PREDICTIONS).fingerprint
    selection = read_manifest(selection_folder, SELECTION)
    require_inputs(selection_folder, selection, "predictions", predictions_fingerprint)
    inputs: dict[str, Any] = {
        "labeled": content_fingerprint(context.splits.labeled),
        "predictions": predictions_fingerprint,
        "selection": selection.fingerprint,
    }
    if isinstance(unlabeled, StreamedUnlabeled):
        inputs["window"] = settings.data.window
        streams = _sharded_streams(context, unlabeled, predictions_folder, selection_folder, batch)
    else:
        assert isinstance(unlabeled, InMemoryUnlabeled)
        streams = _in_memory_streams(context, unlabeled, predictions_folder, selection_folder, batch)
    labeled = np.arange(len(context.splits.labeled))
    of_pseudo = _pseudo_shares(selection_folder)
    of_labels = batch.get(LABELED, 0) * labeled_shares(context, labeled)
    shares = (of_labels + batch[PSEUDO] * of_pseudo) / sum(batch.values())
    return TrainSpec(batch, streams, inputs, settings.objective.deciding(), labeled, shares)


def _in_memory_streams(
    context: RunContext,
    unlabeled: InMemoryUnlabeled,
    predictions_folder: Path,
    selection_folder: Path,
    batch: Mapping[str, int],
) -> Streams:
    """The streams of a student whose images are all in the buffer, the unlabeled ones after the labeled ones."""
    keys, log_probabilities = predictions.read_all(predictions_folder, len(context.splits.classes))
    rows_here = _rows_of_unlabeled(predictions_folder, keys, unlabeled)
    parts = predictions.list_parts(selection_folder)
    copies = np.concatenate([predictions.read_copies(path) for path in parts])[rows_here]
    labeled = len(context.splits.labeled)
    rows = labeled + np.repeat(np.arange(len(copies)), copies)
    require_some(context, selection_folder, len(rows), len(copies))
    of_unlabeled = pseudo_targets(context.settings.objective, len(context.splits.classes), log_probabilities[rows_here])
    targets = torch.cat([labeled_targets(context)[:labeled], of_unlabeled.to(context.device)])

    def streams(seed: int) -> tuple[BatchStream, ...]:
        of_pseudo = InMemoryStream(PSEUDO, context.buffer, targets, rows, batch[PSEUDO], seed=seed)
        return (*_labeled_stream(context, targets, batch, seed), of_pseudo)

    return streams


def _sharded_streams(
    context: RunContext,
    unlabeled: StreamedUnlabeled,
    predictions_folder: Path,
    selection_folder: Path,
    batch: Mapping[str, int],
) -> Streams:
    """The streams of a student whose unlabeled images are decoded when they are needed."""
    settings, classes = context.settings, len(context.splits.classes)
    to_targets = partial(pseudo_targets, settings.objective, classes)
    labels = StreamedLabels(unlabeled, predictions_folder, selection_folder, classes=classes, targets=to_targets)
    require_some(context, selection_folder, int(labels.counts.sum()), sum(unlabeled.shard_sizes))
    targets = labeled_targets(context)
    sharding = UNSHARDED if context.needs_whole_batches else context.sharding

    def streams(seed: int) -> tuple[BatchStream, ...]:
        sampler = WindowedSampler(labels.counts, window=settings.data.window, seed=seed, stream=PSEUDO)
        of_pseudo = ShardStream(PSEUDO, sampler, labels.load, batch[PSEUDO], context.device, sharding=sharding)
        return (*_labeled_stream(context, targets, batch, seed), of_pseudo)

    return streams


def _labeled_stream(
    context: RunContext, targets: Tensor, batch: Mapping[str, int], seed: int
) -> tuple[InMemoryStream, ...]:
    """The labeled images of a student's batches, if they have any."""
    if LABELED not in batch:
        return ()
    rows = np.arange(len(context.splits.labeled))
    return (InMemoryStream(LABELED, context.buffer, targets, rows, batch[LABELED], seed=seed),)


def student_batch(settings: TrainSettings, round_number: int) -> dict[str, int]:
    """Images per step of the student of a round, by stream."""
    labeled, pseudo = settings.student_counts(round_number)
    return {LABELED: labeled, PSEUDO: pseudo}


def labeled_targets(context: RunContext) -> Tensor:
    """Smoothed one-hot rows for the labeled images, zeros for the others: float32 [N, K]."""
    labels = torch.from_numpy(context.splits.labeled.labels).to(context.device)
    classes = len(context.splits.classes)
    targets = torch.zeros(len(context.buffer), classes, device=context.device)
    targets[: len(labels)] = smoothed_one_hot(labels, classes, context.settings.objective.label_smoothing)
    return targets


def labeled_shares(context: RunContext, rows: Ints) -> Shares:
    """The share of each class among labeled rows: float64 [K]; of no rows, zeros."""
    counts = np.bincount(context.splits.labeled.labels[rows], minlength=len(context.splits.classes))
    return np.asarray(counts / max(len(rows), 1), np.float64)


def _pseudo_shares(selection_folder: Path) -> Shares:
    """The share of each predicted class among the copies of a selection: float64 [K]."""
    summary = read_result(SelectionSummary, selection_folder / predictions.SUMMARY)
    copies = np.array([of_class.copies for of_class in summary.per_class], np.float64)
    return np.asarray(copies / max(copies.sum(), 1.0), np.float64)


def pseudo_targets(objective: ObjectiveSettings, classes: int, log_probabilities: npt.NDArray[np.float32]) -> Tensor:
    """The targets of pseudo-labeled images, float32 [N, K], from a teacher's log-probabilities [N, K]."""
    soft_labels = torch.from_numpy(log_probabilities)
    if objective.labels == "soft":
        return apply_temperature(soft_labels, objective.temperature)
    return smoothed_one_hot(soft_labels.argmax(dim=1), classes, objective.label_smoothing)


def require_some(context: RunContext, selection_folder: Path, selected: int, predicted: int) -> None:
    """Raises ``NothingSelectedError`` when a selection takes none of the predicted labels."""
    if selected:
        return
    if context.extensions.select:
        advice = "return copies above 0 from your own selection"
    elif context.settings.selection.foreign == "drop" and context.settings.selection.rule == "curriculum":
        advice = "keep images that are far from the labeled ones (selection.foreign keep)"
    else:
        bounds = context.settings.selection
        advice = f"lower selection.threshold ({bounds.lowest})"
        advice += f" or raise selection.below ({bounds.below})" if bounds.below < 1 else ""
    raise NothingSelectedError(
        f"no pseudo label was selected in {selection_folder.parent.name} (of {predicted} predictions); {advice}, or "
        "give more labels."
    )


def _rows_of_unlabeled(predictions_folder: Path, keys: list[str], unlabeled: InMemoryUnlabeled) -> Ints:
    """The rows of the predictions that are of this run's unlabeled images, without those that the run leaves out."""
    left_out = {image.key for image in unlabeled.left_out}
    rows = np.array([row for row, key in enumerate(keys) if key not in left_out], np.int64)
    if tuple(keys[row] for row in rows) != unlabeled.images.keys:
        raise MismatchError(
            f"{predictions_folder} was made for other images than the unlabeled ones given ({len(keys)} rows there, "
            f"{len(unlabeled.images)} images here); give the source that it was made for, or make it again."
        )
    return rows
