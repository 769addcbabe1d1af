"""Times a training step in different compute modes on the current device."""

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
from noisystudent.runtime.device import autocast, fastest_convolutions

WARMUP_STEPS, TIMED_STEPS = 2, 5  # per compute mode
TOO_SLOW = 2.0  # a mode that takes this many times as long as the fastest after warm-up is not timed any further


@dataclass(frozen=True)
class ComputeMode:
    """The precision of forward and backward passes, and the memory layout of images."""

    precision: str
    channels_last: bool

    def __str__(self) -> str:
        return f"{self.precision}, channels {'last' if self.channels_last else 'first'}"


def time_modes(classifier: Classifier, modes: Sequence[ComputeMode], batch_size: int) -> dict[ComputeMode, float]:
    """Times a training step, forward and backward, in each compute mode.

    The modes alternate step by step, so that other load on the machine affects all of them equally. This changes the
    gradients and the memory layout of ``classifier``.

    Args:
        classifier: the model.
        modes: the compute modes to time.
        batch_size: images per step.

    Returns:
        The seconds of the fastest of seven steps, by mode; modes that the device does not support are left out.

    Raises:
        TrainingError: the device supports none of the modes.
    """
    device = classifier.device
    shape = (batch_size, classifier.channels, classifier.size, classifier.size)
    pixels = torch.randint(256, shape, dtype=torch.uint8, device=device)
    labels = torch.arange(batch_size, device=device) % len(classifier.classes)
    seconds: dict[ComputeMode, float] = {}
    remaining, problem = list(modes), ""
    classifier.train()
    for number in range(WARMUP_STEPS + TIMED_STEPS):
        if number == WARMUP_STEPS:
            remaining = [mode for mode in remaining if seconds[mode] <= TOO_SLOW * min(seconds.values())]
        for mode in tuple(remaining):
            try:
                elapsed = _time_step(classifier, mode, pixels, labels)
            except RuntimeError as error:  # from torch: not implemented for a type, or out of memory
                problem = str(error)
                remaining.remove(mode)
                seconds.pop(mode, None)
            else:
                seconds[mode] = min(elapsed, seconds.get(mode, math.inf))
    if not seconds:
        raise TrainingError(
            f"{classifier.name} cannot be trained on {device} in any of these modes: {'; '.join(map(str, modes))} "
            f"({problem.splitlines()[0]}). Choose a smaller train.batch_size, or another model."
        )
    return seconds


def _time_step(classifier: Classifier, mode: ComputeMode, pixels: Tensor, labels: Tensor) -> float:
    classifier.zero_grad(set_to_none=True)
    classifier.lay_out(channels_last=mode.channels_last)
    _wait(pixels.device)
    started = time.perf_counter()
    with fastest_convolutions():
        with autocast(pixels.device, mode.precision):
            logits = classifier(pixels)
        torch.autograd.backward(F.cross_entropy(logits.float(), labels))
    _wait(pixels.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    """Waits until the device has finished all queued work."""
    if device.type != "cpu":
        torch.accelerator.synchronize()
