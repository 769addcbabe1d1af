"""Teachers as part of a batch: they look at the student's own views in the step, or answered before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from noisystudent.models.teacher import Teacher
from noisystudent.runtime.device import autocast
from noisystudent.training.loader import Batch, Batches

Rows = Callable[[int, int], slice]  # of a batch's labeled and all rows, those that are taught
Teach = Callable[[int, Batch], Tensor]  # of a turn and its batch, the teachers' logits [R, M, K]


@dataclass(frozen=True)
class Taught:
    """Batches with the logits of teachers, of which they are otherwise the same."""

    batches: Batches
    teach: Teach

    def __call__(self, turn: int) -> Batch:
        """The batch of 0-based ``turn``, taught."""
        batch = self.batches(turn)
        return replace(batch, teachers=self.teach(turn, batch))


@dataclass(frozen=True)
class OnlineTeachers:
    """Teachers that see what the student sees: the same crop, distortion and mix (Beyer et al. 2022, section 3).

    A teacher of another picture size than the student's gets the same views at its own, from ``batches`` of that size.
    """

    teachers: Sequence[Teacher]
    batches: Mapping[int, Batches]
    rows: Rows
    precision: str = "float32"

    def __call__(self, turn: int, batch: Batch) -> Tensor:
        """The teachers' logits for the taught rows: float32 [R, M, K]."""
        rows = self.rows(batch.labeled, len(batch.pixels))
        views = {batch.pixels.shape[-1]: batch.pixels}
        for teacher in self.teachers:
            if teacher.size not in views:
                views[teacher.size] = self.batches[teacher.size](turn).pixels
        with autocast(batch.pixels.device, self.precision):
            return torch.stack([answers(teacher, views[teacher.size][rows]) for teacher in self.teachers], dim=1)


@dataclass(frozen=True)
class StoredTeachers:
    """Teachers whose answers for the whole pictures, made once, are looked up: ``tables`` holds a feed's by position.

    A table is float32 [positions of an epoch, M, K].
    """

    tables: Sequence[Tensor]
    batches: Batches
    rows: Rows

    def __call__(self, turn: int, batch: Batch) -> Tensor:
        """The teachers' log-probabilities for the taught rows: float32 [R, M, K]."""
        found = [
            table.index_select(0, torch.from_numpy(views.positions).to(table.device))
            for table, views in zip(self.tables, self.batches.shown(turn), strict=True)
        ]
        return torch.cat(found)[self.rows(batch.labeled, len(batch.pixels))]


@dataclass(frozen=True)
class ReplayedTeachers:
    """Teachers whose answers for every view were stored, by step: ``read`` gives a step's, float32 [B, M, K]."""

    read: Callable[[int], Tensor]
    batches: Batches
    rows: Rows

    def __call__(self, turn: int, batch: Batch) -> Tensor:
        """The teachers' log-probabilities for the taught rows: float32 [R, M, K]."""
        places = self.batches.places(turn)[self.rows(batch.labeled, len(batch.pixels))]
        return self.read(batch.step)[torch.from_numpy(places)].to(batch.pixels.device)


def answers(teacher: Teacher, pixels: Tensor) -> Tensor:
    """A teacher's logits for square pictures that fill their canvas: float32 [B, K]."""
    edges = torch.full((len(pixels), 2), pixels.shape[-1], device=pixels.device)
    return teacher(pixels, edges)


def addresses(batches: Batches, step: int) -> list[str]:
    """What identifies each view of a step's batch: feed, epoch and position, as text."""
    return [
        f"{feed.name}/{epoch}/{position}"
        for feed, views in zip(batches.feeds, batches.views(step), strict=True)
        for epoch, position in zip(views.epochs.tolist(), views.positions.tolist(), strict=True)
    ]
