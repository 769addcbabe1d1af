"""Whether a device computes in a lower precision at full speed, or only emulates it, as many processors do."""

from __future__ import annotations

import time
from functools import cache

import torch
from torch import nn

from noisystudent.runtime.device import autocast, open_device
from noisystudent.runtime.progress import Reporter
from noisystudent.runtime.settings import RuntimeSettings

_SLOWER = 1.2  # from this factor on, a user is warned
_SECONDS = 0.15  # per precision
_CHANNELS, _EDGE = 32, 32
_IMAGES, _IMAGES_OF_ACCELERATOR = 16, 1024  # fewer keep a GPU busy for less time than it takes to start the work


def warn_of_emulation(runtime: RuntimeSettings, reporter: Reporter) -> None:
    """Says how much slower a lower precision is where the device only emulates it, as measured now.

    Args:
        runtime: The settings that name the device and the precision.
        reporter: Where to say it.
    """
    if runtime.precision in ("float32", "auto"):
        return
    device = open_device(runtime)
    factor = slowdown(device.type, runtime.precision)
    if factor >= _SLOWER:
        reporter.say(
            f"warning: runtime.precision {runtime.precision} is slower than float32 here, since this "
            f"{'processor' if device.type == 'cpu' else device.type} only emulates it: a convolution takes "
            f"{factor:.1f} times as long, measured now. Leave the setting out, or use auto in run and train."
        )


@cache
def slowdown(device_type: str, precision: str) -> float:
    """How many times as long as in float32 a convolution of a small network takes; measured once per process."""
    device = torch.device(device_type)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        layer = nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1).to(device)
        layer.to(memory_format=torch.channels_last)
        images = _IMAGES if device_type == "cpu" else _IMAGES_OF_ACCELERATOR
        pixels = torch.ones((images, _CHANNELS, _EDGE, _EDGE), device=device)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        base = _fastest(layer, pixels, "float32")
        return _fastest(layer, pixels, precision) / base


def _fastest(layer: nn.Module, pixels: torch.Tensor, precision: str) -> float:
    """Seconds of the fastest of several passes after the first, which prepares the device."""
    seconds: list[float] = []
    started = time.perf_counter()
    while len(seconds) < 3 or time.perf_counter() - started < _SECONDS:
        before = time.perf_counter()
        with autocast(pixels.device, precision):
            layer(pixels)
        if pixels.device.type != "cpu":
            torch.accelerator.synchronize()
        seconds.append(time.perf_counter() - before)
    return min(seconds[1:])
