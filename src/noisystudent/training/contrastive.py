"""Batches and objective of contrastive pretraining: two views of every image, and no labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from noisystudent.losses.contrastive import nt_xent, spread_of
from noisystudent.losses.objectives import LossTerms
from noisystudent.models.parallel import gathered
from noisystudent.noise.contrastive import ContrastiveView
from noisystudent.runtime.process_group import ProcessGroup
from noisystudent.training.loader import Batch, BatchSharding, BatchStream, SampleIndices, rows_of_steps


@dataclass(frozen=True)
class ContrastiveBatches:
    """Batches of two random views of every image: the first views of all images, then the second ones.

    Attributes:
        stream: The images.
        view: Draws a view.
        sharding: The processes that share a batch.
    """

    stream: BatchStream
    view: ContrastiveView
    sharding: BatchSharding

    def __call__(self, micro_step: int) -> Batch:
        """The share of the batch of a 0-based step, which has no micro-batches, that this process trains on."""
        return self.several([micro_step])[0]

    def several(self, micro_steps: Sequence[int]) -> list[Batch]:
        """The batches of some steps, the same as one by one; the views of all are computed at once."""
        by_step = [self._local_indices(step) for step in micro_steps]
        indices, counts, steps = SampleIndices.joined(by_step), [len(by_step[0])], len(by_step)
        raw = self.stream.fetch(indices)
        epochs, positions = torch.from_numpy(indices.epochs), torch.from_numpy(indices.positions)
        first, second = (
            rows_of_steps(self.view(raw.pixels, raw.sizes, 2 * epochs + number, positions), counts, steps)
            for number in (0, 1)
        )
        parts = zip(micro_steps, first, second, rows_of_steps(raw.targets, counts, steps), strict=True)
        return [Batch(torch.cat(views), targets, labeled=0, step=step) for step, *views, targets in parts]

    def _local_indices(self, step: int) -> SampleIndices:
        indices = self.stream.indices(step)
        if self.sharding.count == 1:
            return indices
        return indices.take(self.sharding.local_rows(len(indices), 0))


@dataclass(frozen=True)
class ContrastiveLoss:
    """The objective of SimCLR as the loop calls it, over the images of all processes.

    Attributes:
        temperature: T of the loss.
        scale: Multiplies the mean loss: 2 in the released code, which adds the means of both views.
        group: The processes that share a batch.
    """

    temperature: float
    scale: float
    group: ProcessGroup

    def __call__(self, projections: Tensor, batch: Batch) -> LossTerms:
        """The loss of the projections [2B, D] of this process and of all others; they get their gradients."""
        unit = F.normalize(projections.float(), dim=1)
        first, second = (gathered(views, self.group) for views in unit.chunk(2))
        loss = self.scale * nt_xent(first, second, self.temperature)
        return LossTerms(loss, {"spread": spread_of(first.detach())})
