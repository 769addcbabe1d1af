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
from noisystudent.data.images import content_fingerprint
from noisystudent.data.unlabeled import InMemoryUnlabeled, StreamedUnlabeled
from noisystudent.errors import DataError, MismatchError, SettingsError, TrainingError
from noisystudent.losses.losses import apply_temperature, smoothed_one_hot
from noisystudent.losses.settings import WHO_TEACHES, DistillationSettings, ObjectiveSettings
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pseudo_labels import predictions
from noisystudent.pseudo_labels.predictions import PREDICTIONS
from noisystudent.pseudo_labels.selection import SELECTION
from noisystudent.training.loader import LABELED, PSEUDO, UNSHARDED, BatchStream, InMemoryStream, Ints, RawBatch
from noisystudent.training.sampler import WindowedSampler
from noisystudent.training.settings import TrainSettings
from noisystudent.training.streaming import Loaded, ShardStream

Targets = Callable[[npt.NDArray[np.float32]], Tensor]  # target probabilities of stored log-probabilities, [N, K] each


class StreamedLabels:
    """The selected images of a pile with their target probabilities, from the parts of predictions and selection."""

    def __init__(
        self, unlabeled: StreamedUnlabeled, predicted: Path, selected: Path, *, classes: int, targets: Targets
    ) -> None:
        """Counts the copies of each shard; raises ``MismatchError`` for predictions of another source."""
        self._unlabeled, self._classes, self._targets = unlabeled, classes, targets
        self._predicted, self._selected = predictions.list_parts(predicted), predictions.list_parts(selected)
        self._rows = [predictions.read_part_stats(path).rows for path in self._predicted]
        shards = sum(len(rows) for rows in self._rows)
        if shards != len(unlabeled.shard_sizes) or len(self._selected) != len(self._predicted):
            raise MismatchError(
                f"{predicted} is of {shards} shards in {len(self._predicted)} parts and {selected} has "
                f"{len(self._selected)} parts, but the unlabeled source has {len(unlabeled.shard_sizes)} shards; give "
                "the source they were made for, or make them again."
            )
        # Of each shard: the number of its part, and its place there.
        self._places = [(part, place) for part, rows in enumerate(self._rows) for place in range(len(rows))]
        self._left_out = frozenset(each.key for each in unlabeled.left_out)
        taken = [copies.sum() for part in range(len(self._rows)) for copies in self._copies(part)]
        self.counts: Ints = np.array(taken, np.int64)

    def load(self, shard: int, places: Ints) -> Loaded:
        """What lies at ``places`` (int64 [N]) among a shard's copies: its images, decoded once each, and targets.

        Raises ``MismatchError`` when the source does not hold the images that were labeled.
        """
        part, place = self._places[shard]
        copies = self._copies(part)[place]
        taken, rows = np.unique(np.repeat(np.arange(len(copies)), copies)[places], return_inverse=True)
        keys, values = predictions.read_shard(self._predicted[part], place, self._classes)
        wanted = tuple(keys[row] for row in taken)
        images = self._unlabeled.read(shard, frozenset(wanted))
        if images.keys != wanted:
            missing = next(iter(set(wanted) - set(images.keys)), wanted[0])
            raise MismatchError(
                f"{self._predicted[part]} has labels for {len(wanted)} images of shard {shard} of the unlabeled "
                f"source that are to be trained on, and {len(images)} of them can be read now ({missing!r} cannot, "
                "for example); give the source they were made for, or make them again."
            )
        sizes = torch.from_numpy(images.sizes.astype(np.int64))
        return Loaded(RawBatch(torch.from_numpy(images.pixels), sizes, self._targets(values[taken])), rows)

    def _copies(self, part: int) -> list[Ints]:
        """How often training takes each row of a part's shards: int64 [N] each."""
        copies = predictions.read_copies(self._selected[part])
        if self._left_out:
            keys = predictions.read_keys(self._predicted[part])
            copies[[row for row, key in enumerate(keys) if key in self._left_out]] = 0
        return np.split(copies, np.cumsum(self._rows[part])[:-1])


@dataclass(frozen=True)
class TeacherRef:
    """A checkpoint that teaches, and the names of the stages that store its answers, should they be stored."""

    checkpoint: Checkpoint
    on_labeled: str
    on_unlabeled: str


@dataclass(frozen=True)
class TrainSpec:
    """What a stage trains on: images a step by feed, the feeds in an order by seed, and where they come from.

    ``objective`` is what it is asked to match; ``distillation`` says how, where the labels are not all, and
    ``teacher_refs`` by whom.
    """

    batch: dict[str, int]
    streams: Callable[[int], tuple[BatchStream, ...]]
    inputs: dict[str, Any]
    objective: dict[str, Any]
    distillation: DistillationSettings | None = None
    teacher_refs: tuple[TeacherRef, ...] = ()

    def taught(self, distillation: DistillationSettings, teacher_refs: Sequence[TeacherRef]) -> TrainSpec:
        """The same images with the objective of distillation; the tutors are left out where it needs none."""
        assert distillation.method != "none"
        teacher_refs = tuple(teacher_refs) if distillation.taught else ()
        told = distillation.model_dump(exclude={"preset", "cache", *WHO_TEACHES})
        objective = {
            "label_smoothing": self.objective["label_smoothing"],
            "distillation": told,
            "teachers": [teacher_ref.checkpoint.fingerprint for teacher_ref in teacher_refs],
        }
        return replace(self, objective=objective, distillation=distillation, teacher_refs=teacher_refs)


def supervised_spec(context: RunContext, rows: Ints | None = None) -> TrainSpec:
    """The labels only, or those of ``rows``: for teacher, control and the choice of noise."""
    settings, splits = context.settings, context.splits
    rows = np.arange(len(splits.labeled)) if rows is None else rows
    batch = {LABELED: settings.train.batch_size}
    targets = _labeled_targets(context)
    inputs = {"labeled": content_fingerprint(splits.labeled.take(rows))}

    def streams(seed: int) -> tuple[BatchStream, ...]:
        return (InMemoryStream(LABELED, context.buffer, targets, rows, batch[LABELED], seed=seed),)

    return TrainSpec(batch, streams, inputs, {"label_smoothing": settings.objective.label_smoothing})


def transfer_spec(context: RunContext) -> TrainSpec:
    """The labels and all unlabeled images without any, for teachers to speak of; or what there is of the two.

    Raises ``DataError`` where there are no images, and ``SettingsError`` for a pile that does not fit into memory.
    """
    settings, splits = context.settings, context.splits
    if not isinstance(splits.unlabeled, InMemoryUnlabeled):
        raise SettingsError(
            "distill keeps its images in memory, and the unlabeled ones are streamed; raise data.memory_limit_gb, "
            "give fewer, or use run with distillation.method, which streams them."
        )
    labeled, total = len(splits.labeled), len(context.buffer)
    if not total:
        raise DataError("there are no images to distill on: neither labeled nor unlabeled ones. Give a source.")
    rows = {LABELED: np.arange(labeled), PSEUDO: np.arange(labeled, total)}
    batch = student_batch(settings.train) if 0 < labeled < total else dict.fromkeys(rows, settings.train.batch_size)
    batch = {name: count for name, count in batch.items() if len(rows[name])}
    targets = _labeled_targets(context)
    inputs = {"labeled": content_fingerprint(splits.labeled), "unlabeled": splits.unlabeled.fingerprint}

    def streams(seed: int) -> tuple[BatchStream, ...]:
        return tuple(
            InMemoryStream(name, context.buffer, targets, rows[name], count, seed=seed) for name, count in batch.items()
        )

    return TrainSpec(batch, streams, inputs, {"label_smoothing": settings.objective.label_smoothing})


def student_spec(context: RunContext, predicted: Path, selected: Path) -> TrainSpec:
    """The labels and the selected pseudo labels together, in the ratio that the settings name."""
    settings, splits = context.settings, context.splits
    source = read_manifest(predicted, PREDICTIONS).fingerprint
    require_inputs(selected, read_manifest(selected, SELECTION), "predictions", source)
    batch = student_batch(settings.train)
    inputs: dict[str, Any] = {
        "labeled": content_fingerprint(splits.labeled),
        "predictions": source,
        "selection": read_manifest(selected, SELECTION).fingerprint,
    }
    objective = settings.objective.model_dump()
    unlabeled = splits.unlabeled
    if isinstance(unlabeled, StreamedUnlabeled):
        inputs["window"] = settings.data.window
        return TrainSpec(batch, _sharded_streams(context, unlabeled, predicted, selected, batch), inputs, objective)
    assert isinstance(unlabeled, InMemoryUnlabeled)
    return TrainSpec(batch, _in_memory_streams(context, unlabeled, predicted, selected, batch), inputs, objective)


def _in_memory_streams(
    context: RunContext, unlabeled: InMemoryUnlabeled, predicted: Path, selected: Path, batch: Mapping[str, int]
) -> Callable[[int], tuple[BatchStream, ...]]:
    """The feeds of a student whose images all lie in the pool, the pile's after the labeled ones."""
    keys, values = predictions.read_all(predicted, len(context.splits.classes))
    in_unlabeled = _rows_of_unlabeled(predicted, keys, unlabeled)
    copies = np.concatenate([predictions.read_copies(path) for path in predictions.list_parts(selected)])[in_unlabeled]
    labeled = len(context.splits.labeled)
    rows = labeled + np.repeat(np.arange(len(copies)), copies)
    require_some(context, selected, len(rows), len(copies))
    pseudo_targets = _pseudo_targets(context.settings.objective, len(context.splits.classes), values[in_unlabeled])
    targets = torch.cat([_labeled_targets(context)[:labeled], pseudo_targets.to(context.device)])

    def streams(seed: int) -> tuple[BatchStream, ...]:
        return (
            InMemoryStream(LABELED, context.buffer, targets, np.arange(labeled), batch[LABELED], seed=seed),
            InMemoryStream(PSEUDO, context.buffer, targets, rows, batch[PSEUDO], seed=seed),
        )

    return streams


def _sharded_streams(
    context: RunContext, unlabeled: StreamedUnlabeled, predicted: Path, selected: Path, batch: Mapping[str, int]
) -> Callable[[int], tuple[BatchStream, ...]]:
    """The feeds of a student whose pseudo-labeled images are decoded as they are needed."""
    settings, classes = context.settings, len(context.splits.classes)
    pseudo_targets = partial(_pseudo_targets, settings.objective, classes)
    labels = StreamedLabels(unlabeled, predicted, selected, classes=classes, targets=pseudo_targets)
    require_some(context, selected, int(labels.counts.sum()), sum(unlabeled.shard_sizes))
    targets, labeled = _labeled_targets(context), np.arange(len(context.splits.labeled))
    sharding = UNSHARDED if context.shows_whole_batches else context.sharding

    def streams(seed: int) -> tuple[BatchStream, ...]:
        order = WindowedSampler(labels.counts, window=settings.data.window, seed=seed, stream=PSEUDO)
        return (
            InMemoryStream(LABELED, context.buffer, targets, labeled, batch[LABELED], seed=seed),
            ShardStream(PSEUDO, order, labels.load, batch[PSEUDO], context.device, sharding=sharding),
        )

    return streams


def student_batch(settings: TrainSettings) -> dict[str, int]:
    """How many labeled and how many pseudo-labeled images a student's batch has: at least one of each."""
    pseudo = round(settings.batch_size * settings.ratio / (1 + settings.ratio))
    pseudo = min(max(pseudo, 1), settings.batch_size - 1)
    return {LABELED: settings.batch_size - pseudo, PSEUDO: pseudo}


def _labeled_targets(context: RunContext) -> Tensor:
    """Smoothed one-hot rows for the labeled images, zeros for the others: float32 [N, K]."""
    labels = torch.from_numpy(context.splits.labeled.labels).to(context.device)
    classes = len(context.splits.classes)
    targets = torch.zeros(len(context.buffer), classes, device=context.device)
    targets[: len(labels)] = smoothed_one_hot(labels, classes, context.settings.objective.label_smoothing)
    return targets


def _pseudo_targets(objective: ObjectiveSettings, classes: int, values: npt.NDArray[np.float32]) -> Tensor:
    stored = torch.from_numpy(values)
    if objective.labels == "soft":
        return apply_temperature(stored, objective.temperature)
    return smoothed_one_hot(stored.argmax(dim=1), classes, objective.label_smoothing)


def require_some(context: RunContext, selected: Path, taken: int, predicted: int) -> None:
    """Raises ``TrainingError`` when a selection takes none of the predicted labels."""
    if not taken:
        raise TrainingError(
            f"no pseudo label was selected in {selected.parent.name} (of {predicted} predictions); lower "
            f"selection.threshold ({context.settings.selection.threshold}) or give more labels."
        )


def _rows_of_unlabeled(predicted: Path, keys: list[str], unlabeled: InMemoryUnlabeled) -> Ints:
    """The predictions' rows of the unlabeled images: all, or all but those that this run leaves out of the pile."""
    left_out = {each.key for each in unlabeled.left_out}
    rows = np.array([row for row, key in enumerate(keys) if key not in left_out], np.int64)
    if tuple(keys[row] for row in rows) != unlabeled.images.keys:
        raise MismatchError(
            f"{predicted} was made for other images than the unlabeled ones given ({len(keys)} rows there, "
            f"{len(unlabeled.images)} images here); give the source that it was made for, or make it again."
        )
    return rows
