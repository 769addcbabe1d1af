"""How long a model takes for an image on this machine."""

from __future__ import annotations

import time

import torch

from noisystudent.models.teacher import TeacherModel
from noisystudent.runtime.device import autocast

AT_ONCE = 32  # images of a pass
_LEAST_PASSES, _SECONDS = 3, 0.3


def milliseconds_per_image(model: TeacherModel, precision: str = "float32") -> float:
    """The milliseconds per image of a median pass of 32 decoded images of the model's own size.

    Args:
        model: the model, on the device that is timed.
        precision: ``float32``, ``bfloat16`` or ``float16``.
    """
    shape = (AT_ONCE, model.channels, model.size, model.size)
    pixels = torch.full(shape, 128, dtype=torch.uint8, device=model.device)
    sizes = torch.full((AT_ONCE, 2), model.size, dtype=torch.int64, device=model.device)

    def seconds() -> float:
        started = time.perf_counter()
        with torch.inference_mode(), autocast(model.device, precision):
            model(pixels, sizes)
        if model.device.type != "cpu":
            torch.accelerator.synchronize()
        return time.perf_counter() - started

    seconds()  # the first pass allocates
    times = [seconds()]
    while len(times) < _LEAST_PASSES or sum(times) < _SECONDS:
        times.append(seconds())
    return 1000 * sorted(times)[len(times) // 2] / AT_ONCE
