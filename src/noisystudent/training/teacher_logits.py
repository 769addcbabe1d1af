"""Teacher logits as part of a batch: computed in the step, or cached per image or per view.

A cached view is not stored as pixels: it follows from its key (stream, epoch, position) under the training's own seed.
Its logits are stored in parts like predictions, a few whole steps each, with the view keys as keys, so that the same
programs read them and logits of other views are never mistaken for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from noisystudent.errors import MismatchError, ModelError
from noisystudent.models.teacher import TeacherModel
from noisystudent.pseudo_labels.predictions import ShardLabels, part_path, read_log_probabilities, write_part
from noisystudent.runtime.device import autocast
from noisystudent.training.loader import Batch, BatchLoader

Rows = Callable[[int, int], slice]  # from the number of labeled and of all rows: the rows that have teacher logits
AskTeachers = Callable[[int, Batch], Tensor]  # from a micro-step and its batch: teacher logits [R, M, K]


@dataclass(frozen=True)
class TeacherLogitsBatches:
    """The batches of ``batches`` with teacher logits added."""

    batches: Callable[[int], Batch]
    teacher_logits: AskTeachers

    def __call__(self, micro_step: int) -> Batch:
        """The batch of 0-based ``micro_step`` with its teacher logits."""
        batch = self.batches(micro_step)
        return replace(batch, teacher_logits=self.teacher_logits(micro_step, batch))


@dataclass(frozen=True)
class OnlineTeachers:
    """Teachers that see the student's own views: same crop, distortion and mix (Beyer et al. 2022, section 3).

    A teacher of another input size gets the same views at its own size, from the entry of ``batches`` for that size.
    """

    teachers: Sequence[TeacherModel]
    batches: Mapping[int, Callable[[int], Batch]]
    rows: Rows
    precision: str = "float32"

    def __call__(self, micro_step: int, batch: Batch) -> Tensor:
        """The teachers' logits, float32 [R, M, K]."""
        rows = self.rows(batch.labeled, len(batch.pixels))
        views = {batch.pixels.shape[-1]: batch.pixels}
        for teacher in self.teachers:
            if teacher.size not in views:
                views[teacher.size] = self.batches[teacher.size](micro_step).pixels
        with autocast(batch.pixels.device, self.precision):
            logits = [teacher_logits_of(teacher, views[teacher.size][rows]) for teacher in self.teachers]
        return torch.stack(logits, dim=1)


@dataclass(frozen=True)
class CachedTeachers:
    """Teachers whose log-probabilities for whole images were computed once and are looked up.

    ``tables`` holds one tensor per stream, indexed by position: float32 [samples per epoch, M, K].
    """

    tables: Sequence[Tensor]
    batches: BatchLoader
    rows: Rows

    def __call__(self, micro_step: int, batch: Batch) -> Tensor:
        """The teachers' log-probabilities, float32 [R, M, K]."""
        by_stream = [
            table.index_select(0, torch.from_numpy(indices.positions).to(table.device))
            for table, indices in zip(self.tables, self.batches.local_indices(micro_step), strict=True)
        ]
        return torch.cat(by_stream)[self.rows(batch.labeled, len(batch.pixels))]


@dataclass(frozen=True)
class CachedViewTeachers:
    """Teachers whose log-probabilities for every view are cached; ``read`` gives a step's, float32 [B, M, K]."""

    read: Callable[[int], Tensor]
    batches: BatchLoader
    rows: Rows

    def __call__(self, micro_step: int, batch: Batch) -> Tensor:
        """The teachers' log-probabilities, float32 [R, M, K]."""
        rows = self.batches.local_rows(micro_step)[self.rows(batch.labeled, len(batch.pixels))]
        return self.read(batch.step)[torch.from_numpy(rows)].to(batch.pixels.device)


def teacher_logits_of(teacher: TeacherModel, pixels: Tensor) -> Tensor:
    """A teacher's logits for square images that fill their canvas: float32 [B, K].

    Raises ``ModelError`` if one is no number: the student's loss would be none either.
    """
    sizes = torch.full((len(pixels), 2), pixels.shape[-1], device=pixels.device)
    logits = teacher(pixels, sizes)
    if bool((logits.isnan() | logits.isposinf()).any()):
        raise ModelError(
            f"the teacher {teacher.name} answers with numbers that are not finite. Check its weights and its "
            "normalization; with mixed precision, try runtime.precision float32."
        )
    return logits


def view_keys(batches: BatchLoader, step: int) -> list[str]:
    """The key of each view of a step's batch: stream, epoch and position as text."""
    return [
        f"{stream.name}/{epoch}/{position}"
        for stream, indices in zip(batches.streams, batches.indices(step), strict=True)
        for epoch, position in zip(indices.epochs.tolist(), indices.positions.tolist(), strict=True)
    ]


_ROWS = 2048  # per part, roughly: few enough that the last part computes little that is not needed


def views_of(steps: int, batch_size: int) -> int:
    """The views in the parts that ``steps`` steps need."""
    steps_per_part = max(1, _ROWS // batch_size)
    return -(-steps // steps_per_part) * steps_per_part * batch_size


class ViewCache:
    """The log-probabilities of one teacher in ``folder`` for every step of ``batches`` (unsharded, at its size)."""

    def __init__(self, folder: Path, batches: BatchLoader, classes: int) -> None:
        self.folder = folder
        self._batches, self._classes = batches, classes
        self._steps_per_part = max(1, _ROWS // batches.size)
        self._read: tuple[int, Tensor] | None = None  # the last part that was read

    @property
    def rows_per_part(self) -> int:
        """The number of views in a part."""
        return self._steps_per_part * self._batches.size

    def missing(self, steps: int) -> list[int]:
        """The parts that ``steps`` steps need and that do not exist yet, by number."""
        parts = -(-steps // self._steps_per_part)
        return [part for part in range(parts) if not part_path(self.folder, part).exists()]

    def write(self, part: int, teacher: TeacherModel, precision: str = "float32") -> None:
        """Computes and stores the log-probabilities (temperature 1) of ``teacher`` for the views of a part's steps."""
        by_step = []
        for step in self._steps(part):
            with autocast(teacher.device, precision):
                logits = teacher_logits_of(teacher, self._batches(step).pixels)
            by_step.append(torch.log_softmax(logits.float(), dim=-1).cpu())
        write_part(part_path(self.folder, part), [ShardLabels.of(self._view_keys(part), torch.cat(by_step).numpy())])

    def read(self, step: int) -> Tensor:
        """The log-probabilities for the views of a step, in the order of its batch: float32 [B, K].

        Raises ``MismatchError`` when the part holds other views.
        """
        part, position = divmod(step, self._steps_per_part)
        if self._read is None or self._read[0] != part:
            path = part_path(self.folder, part)
            keys, values = read_log_probabilities(path, self._classes)
            if keys != self._view_keys(part):
                raise MismatchError(
                    f"{path} holds other views than this training uses; delete its folder, or name another folder."
                )
            self._read = part, torch.from_numpy(values)
        return self._read[1][position * self._batches.size : (position + 1) * self._batches.size]

    def _steps(self, part: int) -> range:
        return range(part * self._steps_per_part, (part + 1) * self._steps_per_part)

    def _view_keys(self, part: int) -> list[str]:
        return [key for step in self._steps(part) for key in view_keys(self._batches, step)]
