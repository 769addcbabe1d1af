"""What a stage trains on: which pictures, how many of each kind a step, and their target probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noisystudent import predictions
from noisystudent.artifacts import read_manifest, require_inputs
from noisystudent.data.roles import Roles, content_fingerprint
from noisystudent.errors import MismatchError, TrainingError
from noisystudent.losses.functions import retempered, smoothed_one_hot
from noisystudent.predictions import PREDICTIONS
from noisystudent.rounds.workshop import Workshop
from noisystudent.selection import SELECTION
from noisystudent.training.feeds import Feed, Ints, PoolFeed
from noisystudent.training.settings import TrainSettings

LABELED, PSEUDO = "labeled", "pseudo"  # the names of the feeds, by which their order is drawn


@dataclass(frozen=True)
class Lesson:
    """What a stage trains on: pictures a step by feed, the feeds in an order by seed, and where they come from."""

    batch: dict[str, int]
    feeds: Callable[[int], tuple[Feed, ...]]
    inputs: dict[str, Any]


def labeled_lesson(workshop: Workshop, rows: Ints | None = None) -> Lesson:
    """The labels only, or those of ``rows``: for teacher, control and the choice of noise."""
    settings, roles = workshop.settings, workshop.roles
    rows = np.arange(len(roles.labeled)) if rows is None else rows
    batch = {LABELED: settings.train.batch_size}
    targets = _labeled_targets(workshop)
    inputs = {
        "labeled": content_fingerprint(roles.labeled.take(rows)),
        "objective": {"label_smoothing": settings.objective.label_smoothing},
    }

    def feeds(seed: int) -> tuple[Feed, ...]:
        return (PoolFeed(LABELED, workshop.pool, targets, rows, batch[LABELED], seed=seed),)

    return Lesson(batch, feeds, inputs)


def student_lesson(workshop: Workshop, predicted: Path, selected: Path) -> Lesson:
    """The labels and the selected pseudo labels together, in the ratio that the settings name."""
    settings, roles = workshop.settings, workshop.roles
    keys, values = predictions.read_all(predicted, len(roles.classes))
    in_pile = _rows_of_pile(predicted, keys, roles)
    copies = _read_copies(predicted, selected)[in_pile]
    rows = len(roles.labeled) + np.repeat(np.arange(len(copies)), copies)
    if not len(rows):
        raise TrainingError(
            f"no pseudo label was selected in {selected.parent.name} (of {len(copies)} predictions); lower "
            f"selection.threshold ({settings.selection.threshold}) or give more labels."
        )
    targets = torch.cat([_labeled_targets(workshop)[: len(roles.labeled)], _pseudo_targets(workshop, values[in_pile])])
    batch = student_batch(settings.train)
    inputs = {
        "labeled": content_fingerprint(roles.labeled),
        "predictions": read_manifest(predicted, PREDICTIONS).fingerprint,
        "selection": read_manifest(selected, SELECTION).fingerprint,
        "objective": settings.objective.model_dump(),
    }

    def feeds(seed: int) -> tuple[Feed, ...]:
        labeled = np.arange(len(roles.labeled))
        return (
            PoolFeed(LABELED, workshop.pool, targets, labeled, batch[LABELED], seed=seed),
            PoolFeed(PSEUDO, workshop.pool, targets, rows, batch[PSEUDO], seed=seed),
        )

    return Lesson(batch, feeds, inputs)


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


def _pseudo_targets(workshop: Workshop, values: npt.NDArray[np.float32]) -> Tensor:
    objective, classes = workshop.settings.objective, len(workshop.roles.classes)
    stored = torch.from_numpy(values).to(workshop.device)
    if objective.labels == "soft":
        return retempered(stored, objective.temperature)
    return smoothed_one_hot(stored.argmax(dim=1), classes, objective.label_smoothing)


def _read_copies(predicted: Path, selected: Path) -> Ints:
    """How often each row of the predictions is taken: int64 [N]; the selection must have been made from them."""
    source = read_manifest(predicted, PREDICTIONS).fingerprint
    require_inputs(selected, read_manifest(selected, SELECTION), "predictions", source)
    return np.concatenate([predictions.read_copies(path) for path in predictions.list_parts(selected)])


def _rows_of_pile(predicted: Path, keys: list[str], roles: Roles) -> Ints:
    """The predictions' rows of the unlabeled pictures: all, or all but those that this run leaves out of the pile."""
    left_out = {each.key for each in roles.left_out}
    rows = np.array([row for row, key in enumerate(keys) if key not in left_out], np.int64)
    if tuple(keys[row] for row in rows) != roles.unlabeled.keys:
        raise MismatchError(
            f"{predicted} was made for other pictures than the unlabeled ones given ({len(keys)} rows there, "
            f"{len(roles.unlabeled)} pictures here); give the source that it was made for, or make it again."
        )
    return rows
