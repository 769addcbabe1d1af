"""Teachers as part of a batch: they look at the student's own views in the step, or answered before.

A teacher's answers for every view of a training, stored by step: patient teaching that asks the teacher once.

A view is not stored: it follows from its address (feed, epoch, position) under the training's own seed. The answers are
parts as those of predictions, of whole steps in the order of their batches, with the addresses as keys. So they can be
read by the same programs, and cannot be taken for those of other views.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from noisystudent.errors import MismatchError
from noisystudent.models.teacher import Teacher
from noisystudent.pseudo_labels.predictions import ShardLabels, part_path, read_log_probabilities, write_part
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


_ROWS = 2048  # about as many in a part: few enough that the last part holds little that is not needed


class ViewStore:
    """The answers of one teacher in ``folder``, for the steps of ``batches``, which are whole and of its own size."""

    def __init__(self, folder: Path, batches: Batches, classes: int) -> None:
        self.folder = folder
        self._batches, self._classes = batches, classes
        self._steps_a_part = max(1, _ROWS // batches.size)
        self._read: tuple[int, Tensor] | None = None  # the part that was read last

    @property
    def rows_a_part(self) -> int:
        """How many views a part has."""
        return self._steps_a_part * self._batches.size

    def missing(self, steps: int) -> list[int]:
        """The numbers of the parts that are not there, of those that ``steps`` steps need."""
        parts = -(-steps // self._steps_a_part)
        return [part for part in range(parts) if not part_path(self.folder, part).exists()]

    def write(self, part: int, teacher: Teacher, precision: str = "float32") -> None:
        """Lets ``teacher`` see the views of a part's steps, and stores its log-probabilities at temperature 1."""
        found = []
        for step in self._steps(part):
            with autocast(teacher.device, precision):
                logits = answers(teacher, self._batches(step).pixels)
            found.append(torch.log_softmax(logits.float(), dim=-1).cpu())
        write_part(part_path(self.folder, part), [ShardLabels.of(self._addresses(part), torch.cat(found).numpy())])

    def read(self, step: int) -> Tensor:
        """The teacher's log-probabilities for the views of a step, in the order of its batch: float32 [B, K].

        Raises ``MismatchError`` for a part that holds other views.
        """
        part, place = divmod(step, self._steps_a_part)
        if self._read is None or self._read[0] != part:
            path = part_path(self.folder, part)
            keys, values = read_log_probabilities(path, self._classes)
            if keys != self._addresses(part):
                raise MismatchError(
                    f"{path} holds other views than this training shows; delete its folder, or give another."
                )
            self._read = part, torch.from_numpy(values)
        return self._read[1][place * self._batches.size : (place + 1) * self._batches.size]

    def _steps(self, part: int) -> range:
        return range(part * self._steps_a_part, (part + 1) * self._steps_a_part)

    def _addresses(self, part: int) -> list[str]:
        return [address for step in self._steps(part) for address in addresses(self._batches, step)]
