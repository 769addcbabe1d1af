"""What this machine needs per image: forward passes, training steps and fits of heads, timed for a few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from noisystudent.models.classifier import Classifier
from noisystudent.models.tuning import start_training
from noisystudent.runtime.device import Engine, autocast, fastest_convolutions
from noisystudent.training.linear_head import HeadData, Scaler, fit_head

# Images of a timed forward pass and of a timed training step on a CPU, where they hardly change the time per image. On
# an accelerator the time of few images is that of starting the work (NOTEBOOK.md).
FEATURE_BATCH, TRAINING_BATCH = 16, 32
FEATURE_BATCH_OF_ACCELERATOR = 512
TIMED_PENALTY = 0.1  # weight decay, in the middle of those that are compared
OVERHEAD = 1.3  # a step of the loop, with noise, optimizer and averages, against forward and backward pass
FORWARD = 1 / 3  # of a training step of the whole network
_REPEATS = 3  # the fastest counts: other load on the machine only adds


def seconds_per_view(classifier: Classifier, size: int, engine: Engine) -> float:
    """Seconds of a forward pass per image of ``size`` pixels, without gradients."""
    images = FEATURE_BATCH if engine.device.type == "cpu" else FEATURE_BATCH_OF_ACCELERATOR
    pixels = _pixels(classifier, images, size)
    classifier.eval()

    def forward() -> None:
        with torch.inference_mode(), autocast(engine.device, engine.precision):
            classifier(pixels)

    return _fastest(forward, engine.device) / images


def seconds_per_sample(classifier: Classifier, engine: Engine, batch_size: int) -> float:
    """Seconds of a training step per image: forward and backward pass, without noise and optimizer.

    On an accelerator a step is timed with ``batch_size`` images, those of a step of the training.
    """
    images = TRAINING_BATCH if engine.device.type == "cpu" else batch_size
    pixels = _pixels(classifier, images, classifier.size)
    labels = torch.arange(images, device=engine.device) % len(classifier.classes)
    start_training(classifier, frozen_statistics=False)

    def step() -> None:
        classifier.zero_grad(set_to_none=True)
        with autocast(engine.device, engine.precision):
            logits = classifier(pixels)
        torch.autograd.backward(F.cross_entropy(logits.float(), labels))

    with fastest_convolutions():
        return _fastest(step, engine.device) / images


@dataclass(frozen=True)
class FitTimes:
    """How the seconds of fitting a head grow with its rows."""

    fixed: float
    per_row: float

    def seconds(self, rows: int) -> float:
        """Seconds of a fit on this many rows."""
        return self.fixed + self.per_row * rows


def time_fits(width: int, classes: int, device: torch.device) -> FitTimes:
    """Times two small fits of a head on ``width`` features."""
    few, many = 256, 2048
    seconds_few, seconds_many = (_seconds_of_small_fit(width, classes, count, device) for count in (few, many))
    per_row = max(0.0, seconds_many - seconds_few) / (many - few)
    return FitTimes(max(0.0, seconds_few - few * per_row), per_row)


def _seconds_of_small_fit(width: int, classes: int, rows: int, device: torch.device) -> float:
    """Seconds of a fit to features that depend on each other as a backbone's do, so that it takes as many steps.

    The variance of their principal components falls with the power -1.5 of the rank; those of EfficientNet-Lite0 take
    50 to 90 steps, independent ones 15.
    """
    random = np.random.default_rng(0)
    labels = np.arange(rows) % classes
    directions = random.normal(size=(width, width)) * np.arange(1, width + 1)[:, None] ** -0.75
    centers = random.normal(size=(classes, width))
    features = ((centers[labels] + random.normal(size=(rows, width))) @ directions).astype(np.float16)
    data = HeadData([features], np.eye(classes, dtype=np.float32)[labels], np.ones(rows, np.float32))
    started = time.perf_counter()
    fit_head([data], Scaler.of([features]), TIMED_PENALTY, device)
    return time.perf_counter() - started


def _pixels(classifier: Classifier, count: int, size: int) -> torch.Tensor:
    return torch.randint(256, (count, classifier.channels, size, size), dtype=torch.uint8, device=classifier.device)


def _fastest(work: Callable[[], None], device: torch.device) -> float:
    """Seconds of the fastest of some repetitions, after one that does not count."""
    work()
    seconds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        work()
        if device.type != "cpu":
            torch.accelerator.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
