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
from noisystudent.data.unlabeled import KeptPile, StreamedPile
from noisystudent.errors import DataError, MismatchError, SettingsError, TrainingError
from noisystudent.losses.losses import retempered, smoothed_one_hot
from noisystudent.losses.settings import WHO_TEACHES, DistillationSettings, ObjectiveSettings
from noisystudent.pipeline.checkpoints import Trained
from noisystudent.pipeline.context import Workshop
from noisystudent.pseudo_labels import predictions
from noisystudent.pseudo_labels.predictions import PREDICTIONS
from noisystudent.pseudo_labels.selection import SELECTION
from noisystudent.training.loader import LABELED, PSEUDO, WHOLE, Feed, Food, Ints, PoolFeed
from noisystudent.training.sampler import WindowOrder
from noisystudent.training.settings import TrainSettings
from noisystudent.training.streaming import Loaded, StreamFeed

Targets = Callable[[npt.NDArray[np.float32]], Tensor]  # target probabilities of stored log-probabilities, [N, K] each


class StreamedLabels:
    """The selected pictures of a pile with their target probabilities, from the parts of predictions and selection."""

    def __init__(self, pile: StreamedPile, predicted: Path, selected: Path, *, classes: int, targets: Targets) -> None:
        """Counts the copies of each shard; raises ``MismatchError`` for predictions of another source."""
        self._pile, self._classes, self._targets = pile, classes, targets
        self._predicted, self._selected = predictions.list_parts(predicted), predictions.list_parts(selected)
        self._rows = [predictions.account_for(path).rows for path in self._predicted]
        shards = sum(len(rows) for rows in self._rows)
        if shards != len(pile.shard_sizes) or len(self._selected) != len(self._predicted):
            raise MismatchError(
                f"{predicted} is of {shards} shards in {len(self._predicted)} parts and {selected} has "
                f"{len(self._selected)} parts, but the unlabeled source has {len(pile.shard_sizes)} shards; give the "
                "source they were made for, or make them again."
            )
        # Of each shard: the number of its part, and its place there.
        self._places = [(part, place) for part, rows in enumerate(self._rows) for place in range(len(rows))]
        self._left_out = frozenset(each.key for each in pile.left_out)
        taken = [copies.sum() for part in range(len(self._rows)) for copies in self._copies(part)]
        self.counts: Ints = np.array(taken, np.int64)

    def load(self, shard: int, places: Ints) -> Loaded:
        """What lies at ``places`` (int64 [N]) among a shard's copies: its pictures, decoded once each, and targets.

        Raises ``MismatchError`` when the source does not hold the pictures that were labeled.
        """
        part, place = self._places[shard]
        copies = self._copies(part)[place]
        taken, rows = np.unique(np.repeat(np.arange(len(copies)), copies)[places], return_inverse=True)
        keys, values = predictions.read_shard(self._predicted[part], place, self._classes)
        wanted = tuple(keys[row] for row in taken)
        pictures = self._pile.read(shard, frozenset(wanted))
        if pictures.keys != wanted:
            missing = next(iter(set(wanted) - set(pictures.keys)), wanted[0])
            raise MismatchError(
                f"{self._predicted[part]} has labels for {len(wanted)} pictures of shard {shard} of the unlabeled "
                f"source that are to be trained on, and {len(pictures)} of them can be read now ({missing!r} cannot, "
                "for example); give the source they were made for, or make them again."
            )
        sizes = torch.from_numpy(pictures.sizes.astype(np.int64))
        return Loaded(Food(torch.from_numpy(pictures.pixels), sizes, self._targets(values[taken])), rows)

    def _copies(self, part: int) -> list[Ints]:
        """How often training takes each row of a part's shards: int64 [N] each."""
        copies = predictions.read_copies(self._selected[part])
        if self._left_out:
            keys = predictions.read_keys(self._predicted[part])
            copies[[row for row, key in enumerate(keys) if key in self._left_out]] = 0
        return np.split(copies, np.cumsum(self._rows[part])[:-1])


@dataclass(frozen=True)
class Tutor:
    """A checkpoint that teaches, and the names of the stages that store its answers, should they be stored."""

    trained: Trained
    on_labeled: str
    on_unlabeled: str


@dataclass(frozen=True)
class Lesson:
    """What a stage trains on: pictures a step by feed, the feeds in an order by seed, and where they come from.

    ``objective`` is what it is asked to match; ``distillation`` says how, where the labels are not all, and ``tutors``
    by whom.
    """

    batch: dict[str, int]
    feeds: Callable[[int], tuple[Feed, ...]]
    inputs: dict[str, Any]
    objective: dict[str, Any]
    distillation: DistillationSettings | None = None
    tutors: tuple[Tutor, ...] = ()

    def taught(self, distillation: DistillationSettings, tutors: Sequence[Tutor]) -> Lesson:
        """The same pictures with the objective of distillation; the tutors are left out where it needs none."""
        assert distillation.method != "none"
        tutors = tuple(tutors) if distillation.taught else ()
        told = distillation.model_dump(exclude={"preset", "views", *WHO_TEACHES})
        objective = {
            "label_smoothing": self.objective["label_smoothing"],
            "distillation": told,
            "teachers": [tutor.trained.fingerprint for tutor in tutors],
        }
        return replace(self, objective=objective, distillation=distillation, tutors=tutors)


def labeled_lesson(workshop: Workshop, rows: Ints | None = None) -> Lesson:
    """The labels only, or those of ``rows``: for teacher, control and the choice of noise."""
    settings, roles = workshop.settings, workshop.roles
    rows = np.arange(len(roles.labeled)) if rows is None else rows
    batch = {LABELED: settings.train.batch_size}
    targets = _labeled_targets(workshop)
    inputs = {"labeled": content_fingerprint(roles.labeled.take(rows))}

    def feeds(seed: int) -> tuple[Feed, ...]:
        return (PoolFeed(LABELED, workshop.pool, targets, rows, batch[LABELED], seed=seed),)

    return Lesson(batch, feeds, inputs, {"label_smoothing": settings.objective.label_smoothing})


def transfer_lesson(workshop: Workshop) -> Lesson:
    """The labels and all unlabeled pictures without any, for teachers to speak of; or what there is of the two.

    Raises ``DataError`` where there are no pictures, and ``SettingsError`` for a pile that does not fit into memory.
    """
    settings, roles = workshop.settings, workshop.roles
    if not isinstance(roles.unlabeled, KeptPile):
        raise SettingsError(
            "distill keeps its pictures in memory, and the unlabeled ones are streamed; raise data.memory_limit_gb, "
            "give fewer, or use run with distillation.method, which streams them."
        )
    labeled, total = len(roles.labeled), len(workshop.pool)
    if not total:
        raise DataError("there are no pictures to distill on: neither labeled nor unlabeled ones. Give a source.")
    rows = {LABELED: np.arange(labeled), PSEUDO: np.arange(labeled, total)}
    batch = student_batch(settings.train) if 0 < labeled < total else dict.fromkeys(rows, settings.train.batch_size)
    batch = {name: count for name, count in batch.items() if len(rows[name])}
    targets = _labeled_targets(workshop)
    inputs = {"labeled": content_fingerprint(roles.labeled), "unlabeled": roles.unlabeled.fingerprint}

    def feeds(seed: int) -> tuple[Feed, ...]:
        return tuple(
            PoolFeed(name, workshop.pool, targets, rows[name], count, seed=seed) for name, count in batch.items()
        )

    return Lesson(batch, feeds, inputs, {"label_smoothing": settings.objective.label_smoothing})


def student_lesson(workshop: Workshop, predicted: Path, selected: Path) -> Lesson:
    """The labels and the selected pseudo labels together, in the ratio that the settings name."""
    settings, roles = workshop.settings, workshop.roles
    source = read_manifest(predicted, PREDICTIONS).fingerprint
    require_inputs(selected, read_manifest(selected, SELECTION), "predictions", source)
    batch = student_batch(settings.train)
    inputs: dict[str, Any] = {
        "labeled": content_fingerprint(roles.labeled),
        "predictions": source,
        "selection": read_manifest(selected, SELECTION).fingerprint,
    }
    objective = settings.objective.model_dump()
    pile = roles.unlabeled
    if isinstance(pile, StreamedPile):
        inputs["window"] = settings.data.window
        return Lesson(batch, _streamed_feeds(workshop, pile, predicted, selected, batch), inputs, objective)
    assert isinstance(pile, KeptPile)
    return Lesson(batch, _kept_feeds(workshop, pile, predicted, selected, batch), inputs, objective)


def _kept_feeds(
    workshop: Workshop, pile: KeptPile, predicted: Path, selected: Path, batch: Mapping[str, int]
) -> Callable[[int], tuple[Feed, ...]]:
    """The feeds of a student whose pictures all lie in the pool, the pile's after the labeled ones."""
    keys, values = predictions.read_all(predicted, len(workshop.roles.classes))
    in_pile = _rows_of_pile(predicted, keys, pile)
    copies = np.concatenate([predictions.read_copies(path) for path in predictions.list_parts(selected)])[in_pile]
    labeled = len(workshop.roles.labeled)
    rows = labeled + np.repeat(np.arange(len(copies)), copies)
    require_some(workshop, selected, len(rows), len(copies))
    pseudo_targets = _pseudo_targets(workshop.settings.objective, len(workshop.roles.classes), values[in_pile])
    targets = torch.cat([_labeled_targets(workshop)[:labeled], pseudo_targets.to(workshop.device)])

    def feeds(seed: int) -> tuple[Feed, ...]:
        return (
            PoolFeed(LABELED, workshop.pool, targets, np.arange(labeled), batch[LABELED], seed=seed),
            PoolFeed(PSEUDO, workshop.pool, targets, rows, batch[PSEUDO], seed=seed),
        )

    return feeds


def _streamed_feeds(
    workshop: Workshop, pile: StreamedPile, predicted: Path, selected: Path, batch: Mapping[str, int]
) -> Callable[[int], tuple[Feed, ...]]:
    """The feeds of a student whose pseudo-labeled pictures are decoded as they are needed."""
    settings, classes = workshop.settings, len(workshop.roles.classes)
    pseudo_targets = partial(_pseudo_targets, settings.objective, classes)
    labels = StreamedLabels(pile, predicted, selected, classes=classes, targets=pseudo_targets)
    require_some(workshop, selected, int(labels.counts.sum()), sum(pile.shard_sizes))
    targets, labeled = _labeled_targets(workshop), np.arange(len(workshop.roles.labeled))
    division = WHOLE if workshop.shows_whole_batches else workshop.division

    def feeds(seed: int) -> tuple[Feed, ...]:
        order = WindowOrder(labels.counts, window=settings.data.window, seed=seed, stream=PSEUDO)
        return (
            PoolFeed(LABELED, workshop.pool, targets, labeled, batch[LABELED], seed=seed),
            StreamFeed(PSEUDO, order, labels.load, batch[PSEUDO], workshop.device, division=division),
        )

    return feeds


def student_batch(settings: TrainSettings) -> dict[str, int]:
    """How many labeled and how many pseudo-labeled pictures a student's batch has: at least one of each."""
    pseudo = round(settings.batch_size * settings.ratio / (1 + settings.ratio))
    pseudo = min(max(pseudo, 1), settings.batch_size - 1)
    return {LABELED: settings.batch_size - pseudo, PSEUDO: pseudo}


def _labeled_targets(workshop: Workshop) -> Tensor:
    """Smoothed one-hot rows for the labeled pictures, zeros for the others: float32 [N, K]."""
    labels = torch.from_numpy(workshop.roles.labeled.labels).to(workshop.device)
    classes = len(workshop.roles.classes)
    targets = torch.zeros(len(workshop.pool), classes, device=workshop.device)
    targets[: len(labels)] = smoothed_one_hot(labels, classes, workshop.settings.objective.label_smoothing)
    return targets


def _pseudo_targets(objective: ObjectiveSettings, classes: int, values: npt.NDArray[np.float32]) -> Tensor:
    stored = torch.from_numpy(values)
    if objective.labels == "soft":
        return retempered(stored, objective.temperature)
    return smoothed_one_hot(stored.argmax(dim=1), classes, objective.label_smoothing)


def require_some(workshop: Workshop, selected: Path, taken: int, predicted: int) -> None:
    """Raises ``TrainingError`` when a selection takes none of the predicted labels."""
    if not taken:
        raise TrainingError(
            f"no pseudo label was selected in {selected.parent.name} (of {predicted} predictions); lower "
            f"selection.threshold ({workshop.settings.selection.threshold}) or give more labels."
        )


def _rows_of_pile(predicted: Path, keys: list[str], pile: KeptPile) -> Ints:
    """The predictions' rows of the unlabeled pictures: all, or all but those that this run leaves out of the pile."""
    left_out = {each.key for each in pile.left_out}
    rows = np.array([row for row, key in enumerate(keys) if key not in left_out], np.int64)
    if tuple(keys[row] for row in rows) != pile.pictures.keys:
        raise MismatchError(
            f"{predicted} was made for other pictures than the unlabeled ones given ({len(keys)} rows there, "
            f"{len(pile.pictures)} pictures here); give the source that it was made for, or make it again."
        )
    return rows
