"""Batches that are made several steps at a time, where starting the work takes longer than doing it.

The noise of a batch is hundreds of small operations. On a GPU each takes as long to start for 400 images as for 10,000,
so that small images mostly wait for their noise: for 448 of 32 px it takes an H200 16 ms, as it takes one core of a CPU
(NOTEBOOK.md). A batch is a pure function of its step, so that many can be made at once and are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from noisystudent.training.loader import Batch

MOST_BYTES = 1 << 25  # of stored pixels at once; the noise makes some float copies of a part of them


class SeveralBatches(Protocol):
    """Makes batches one by one, or several at once."""

    def __call__(self, micro_step: int) -> Batch:
        """The batch of 0-based ``micro_step``."""

    def several(self, micro_steps: Sequence[int]) -> list[Batch]:
        """The batches of some micro-steps, the same as one by one."""


class AheadBatches:
    """The batches of ``batches``, made ``count`` at a time and kept until they have been asked for."""

    def __init__(self, batches: SeveralBatches, count: int, last: int) -> None:
        """None is made from micro-step ``last`` on."""
        self._batches, self._count, self._last = batches, count, last
        self._made: dict[int, Batch] = {}

    def __call__(self, micro_step: int) -> Batch:
        """The batch of 0-based ``micro_step``, below ``last``."""
        if micro_step not in self._made:
            steps = range(micro_step, min(micro_step + self._count, self._last))
            self._made = dict(zip(steps, self._batches.several(steps), strict=True))
        return self._made[micro_step]


def made_ahead(batches: SeveralBatches, device: torch.device, bytes_per_step: int, last: int) -> Callable[[int], Batch]:
    """The same batches: on an accelerator several at a time, on a CPU, whose caches hold one, as they are asked for.

    Args:
        batches: Makes them.
        device: Where they are made.
        bytes_per_step: Bytes of the stored pixels of a micro-step.
        last: The number of micro-steps of the training.
    """
    count = 1 if device.type == "cpu" else MOST_BYTES // max(1, bytes_per_step)
    return AheadBatches(batches, count, last) if count > 1 else batches
