"""How long models take for an image, one beside the other on the same device."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from noisystudent.models.teacher import TeacherModel
from noisystudent.runtime.device import autocast

IMAGES = 32  # at a time
_WARMUP, _TIMED = 1, 5  # passes of each model


def milliseconds_per_image(models: Sequence[TeacherModel], precision: str) -> list[float]:
    """Times passes of ``IMAGES`` images through models, each at its own size.

    The models take turns, so that other load on the machine meets all of them, and the fastest pass of each counts.

    Args:
        models: The models.
        precision: ``float32``, ``bfloat16`` or ``float16``.

    Returns:
        Milliseconds per image, in the order of the models.
    """
    batches = [_batch(model) for model in models]
    seconds = [float("inf")] * len(models)
    for number in range(_WARMUP + _TIMED):
        for place, (model, (pixels, sizes)) in enumerate(zip(models, batches, strict=True)):
            elapsed = _time_pass(model, pixels, sizes, precision)
            if number >= _WARMUP:
                seconds[place] = min(seconds[place], elapsed)
    return [1000 * elapsed / IMAGES for elapsed in seconds]


def _batch(model: TeacherModel) -> tuple[Tensor, Tensor]:
    shape = (IMAGES, model.channels, model.size, model.size)
    pixels = torch.full(shape, 128, dtype=torch.uint8, device=model.device)
    return pixels, torch.full((IMAGES, 2), model.size, device=model.device)


def _time_pass(model: TeacherModel, pixels: Tensor, sizes: Tensor, precision: str) -> float:
    _wait(model.device)
    started = time.perf_counter()
    with autocast(model.device, precision):
        model(pixels, sizes)
    _wait(model.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
