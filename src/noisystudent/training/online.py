"""Batches of an online student: labeled images, and unlabeled ones in a weak and a strong view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from noisystudent.losses.objectives import LossTerms
from noisystudent.losses.online import OnlineObjective
from noisystudent.models.parallel import gathered
from noisystudent.noise.input import InputNoise
from noisystudent.runtime.process_group import SINGLE, ProcessGroup
from noisystudent.training.loader import Batch, BatchLoader, collate, joined_steps, rows_of_steps


@dataclass(frozen=True)
class TwoViewBatches:
    """Batches in which every unlabeled image is shown twice, both views made of one fetched image.

    Attributes:
        batches: The streams of labeled and of unlabeled images, with the noise of weak views; labeled images have it.
        strong: The noise of strong views.
        asks_average: Whether the averaged weights answer to weak views; else these are rows of the student's batch.
    """

    batches: BatchLoader
    strong: InputNoise
    asks_average: bool

    def __call__(self, micro_step: int) -> Batch:
        """The share of a step's batch that this process trains on in 0-based ``micro_step``."""
        return self.several([micro_step])[0]

    def several(self, micro_steps: Sequence[int]) -> list[Batch]:
        """The batches of some micro-steps, the same as one by one; the noise of all is computed at once."""
        by_step = [self.batches.local_indices(micro_step) for micro_step in micro_steps]
        by_stream, steps = joined_steps(by_step), len(by_step)
        of_labels, of_unlabeled = (len(indices) for indices in by_step[0])
        labeled, unlabeled = self.batches.fetch(by_stream)
        both = collate([labeled, unlabeled])
        epochs, keys = self.batches.noise_keys(by_stream)
        weak = self.batches.noise(both.pixels, both.sizes, epochs, keys)
        first = steps * of_labels
        strong = self.strong(unlabeled.pixels, unlabeled.sizes, epochs[first:], keys[first:])
        positions = torch.from_numpy(by_stream[1].positions).to(strong.device)
        parts = zip(
            micro_steps,
            rows_of_steps(weak, [of_labels, of_unlabeled], steps),
            rows_of_steps(strong, [of_unlabeled], steps),
            rows_of_steps(labeled.targets, [of_labels], steps),
            rows_of_steps(positions, [of_unlabeled], steps),
            strict=True,
        )
        return [self._batch(*part) for part in parts]

    def _batch(self, micro_step: int, weak: Tensor, strong: Tensor, targets: Tensor, positions: Tensor) -> Batch:
        """The batch of a micro-step; labeled images come first among the weak views."""
        count = self.batches.labeled
        return Batch(
            pixels=torch.cat([weak[:count] if self.asks_average else weak, strong]),
            targets=targets,
            labeled=count,
            step=micro_step // self.batches.sharding.micro_batches,
            positions=positions,
            for_average=weak[count:] if self.asks_average else None,
        )


@dataclass(frozen=True)
class OnlineLoss:
    """The objective of an online student as the loop calls it: from the logits of a batch of ``TwoViewBatches``.

    Where the averaged weights answer, the logits are those of labeled images and strong views; else those of weak views
    are between the two. Every process computes the loss of the batches of all, so each remembers the same.

    Attributes:
        memory: The objective, with what it remembers.
        steps: The steps of the training.
        group: The processes that share a batch.
    """

    memory: OnlineObjective
    steps: int
    group: ProcessGroup = SINGLE

    def __call__(self, logits: Tensor, batch: Batch) -> LossTerms:
        """The loss of a batch; what the objective remembers moves on."""
        assert batch.positions is not None
        first_strong = len(logits) - len(batch.positions)
        answers = batch.teacher_logits
        weak = logits[batch.labeled : first_strong] if answers is None else answers[:, 0]
        terms: LossTerms = self.memory(
            self._of_all(logits[: batch.labeled]),
            self._of_all(batch.targets),
            self._of_all(weak.detach()),
            self._of_all(logits[first_strong:]),
            self._of_all(batch.positions),
            batch.step / self.steps,
        )
        return terms

    def _of_all(self, rows: Tensor) -> Tensor:
        """The rows of all processes, [P * B, ...], in the order that they have in the batch of one process."""
        of_all = gathered(rows, self.group)
        return of_all.reshape(self.group.world_size, len(rows), *rows.shape[1:]).transpose(0, 1).flatten(0, 1)
