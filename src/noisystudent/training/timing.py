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
class Way:
    """A way of computing: the precision of forward and backward passes, and how pictures lie in memory."""

    precision: str
    channels_last: bool

    def __str__(self) -> str:
        return f"{self.precision}, channels {'last' if self.channels_last else 'first'}"


def time_ways(classifier: Classifier, ways: Sequence[Way], batch_size: int) -> dict[Way, float]:
    """Seconds of a step, forward and backward, in each of ``ways`` in their order: the least of seven.

    The ways take turns, so that what else the machine does meets all alike. One that the device cannot compute in is
    left out; raises ``TrainingError`` when that is all of them. Changes gradients and memory layout of ``classifier``.
    """
    device = classifier.device
    shape = (batch_size, classifier.channels, classifier.size, classifier.size)
    pixels = torch.randint(256, shape, dtype=torch.uint8, device=device)
    labels = torch.arange(batch_size, device=device) % len(classifier.classes)
    seconds: dict[Way, float] = {}
    left, problem = list(ways), ""
    classifier.train()
    for number in range(WARM_UP + ROUNDS):
        if number == WARM_UP:
            left = [way for way in left if seconds[way] <= HOPELESS * min(seconds.values())]
        for way in tuple(left):
            try:
                taken = _time_step(classifier, way, pixels, labels)
            except RuntimeError as error:  # torch's: not implemented for a type, or no memory left
                problem = str(error)
                left.remove(way)
                seconds.pop(way, None)
            else:
                seconds[way] = min(taken, seconds.get(way, math.inf))
    if not seconds:
        raise TrainingError(
            f"{classifier.name} can be trained in none of these ways on {device}: {'; '.join(map(str, ways))} "
            f"({problem.splitlines()[0]}). Choose a smaller train.batch_size, or another model."
        )
    return seconds


def _time_step(classifier: Classifier, way: Way, pixels: Tensor, labels: Tensor) -> float:
    classifier.zero_grad(set_to_none=True)
    classifier.lay_out(channels_last=way.channels_last)
    _wait(pixels.device)
    started = time.perf_counter()
    with autocast(pixels.device, way.precision):
        logits = classifier(pixels)
    torch.autograd.backward(F.cross_entropy(logits.float(), labels))
    _wait(pixels.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    """Waits until the device has done all that it was told to do."""
    if device.type != "cpu":
        torch.accelerator.synchronize()
