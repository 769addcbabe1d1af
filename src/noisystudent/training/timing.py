"""How long a training step takes in each way of computing, timed on the device at hand."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from noisystudent.errors import TrainingError
from noisystudent.models.classifier import Classifier
from noisystudent.runtime.device import autocast

WARM_UP, ROUNDS = 2, 5  # steps in each way
HOPELESS = 2.0  # times as long as the quickest after warming up: not timed any further


@dataclass(frozen=True)
class ComputeMode:
    """A way of computing: the precision of forward and backward passes, and how images lie in memory."""

    precision: str
    channels_last: bool

    def __str__(self) -> str:
        return f"{self.precision}, channels {'last' if self.channels_last else 'first'}"


def time_modes(classifier: Classifier, modes: Sequence[ComputeMode], batch_size: int) -> dict[ComputeMode, float]:
    """Seconds of a step, forward and backward, in each of ``modes`` in their order: the least of seven.

    The ways take turns, so that what else the machine does meets all alike. One that the device cannot compute in is
    left out; raises ``TrainingError`` when that is all of them. Changes gradients and memory layout of ``classifier``.
    """
    device = classifier.device
    shape = (batch_size, classifier.channels, classifier.size, classifier.size)
    pixels = torch.randint(256, shape, dtype=torch.uint8, device=device)
    labels = torch.arange(batch_size, device=device) % len(classifier.classes)
    seconds: dict[ComputeMode, float] = {}
    left, problem = list(modes), ""
    classifier.train()
    for number in range(WARM_UP + ROUNDS):
        if number == WARM_UP:
            left = [mode for mode in left if seconds[mode] <= HOPELESS * min(seconds.values())]
        for mode in tuple(left):
            try:
                taken = _time_step(classifier, mode, pixels, labels)
            except RuntimeError as error:  # torch's: not implemented for a type, or no memory left
                problem = str(error)
                left.remove(mode)
                seconds.pop(mode, None)
            else:
                seconds[mode] = min(taken, seconds.get(mode, math.inf))
    if not seconds:
        raise TrainingError(
            f"{classifier.name} can be trained in none of these ways on {device}: {'; '.join(map(str, modes))} "
            f"({problem.splitlines()[0]}). Choose a smaller train.batch_size, or another model."
        )
    return seconds


def _time_step(classifier: Classifier, mode: ComputeMode, pixels: Tensor, labels: Tensor) -> float:
    classifier.zero_grad(set_to_none=True)
    classifier.lay_out(channels_last=mode.channels_last)
    _wait(pixels.device)
    started = time.perf_counter()
    with autocast(pixels.device, mode.precision):
        logits = classifier(pixels)
    torch.autograd.backward(F.cross_entropy(logits.float(), labels))
    _wait(pixels.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    """Waits until the device has done all that it was told to do."""
    if device.type != "cpu":
        torch.accelerator.synchronize()
