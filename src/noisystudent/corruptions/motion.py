"""Motion blur as ImageMagick defines it: a one-sided Gaussian along an angle, in whole pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noisystudent.corruptions.chances import Chances
from noisystudent.corruptions.edges import extended
from noisystudent.corruptions.levels import rounded


def motion_blur(pixels: Tensor, chances: Chances, radius: float, sigma: float) -> Tensor:
    """Blur each picture, ``uint8 [B, C, S, S]``, along an angle of its own, between -45 and 45 degrees."""
    degrees = chances.uniform(1).squeeze(1).mul_(90.0).sub_(45.0)
    return rounded(blurred_along(pixels.to(torch.float32), degrees, radius=radius, sigma=sigma))


def blurred_along(values: Tensor, degrees: Tensor, *, radius: float, sigma: float) -> Tensor:
    """``values``, float32 ``[B, C, S, S]``, each blurred along its angle of ``degrees`` ``[B]``.

    ImageMagick's ``MotionBlurImage``: a pixel becomes the mean of itself and the 2 ``radius`` pixels that follow along
    the angle (0 is to the right, 90 down), each at the nearest whole pixel, with the weights of a Gaussian of
    ``sigma`` that is centered on the pixel itself. Edges go on with their last value.
    """
    offsets, weights = _steps(degrees, radius=radius, sigma=sigma)
    reach = int(2 * radius)
    whole = extended(values, reach, "nearest")
    if values.device.type == "cpu":
        return _picture_by_picture(whole, offsets + reach, weights, values.shape[-1])
    return _step_by_step(whole, offsets + reach, weights, values.shape[-1])


def _steps(degrees: Tensor, *, radius: float, sigma: float) -> tuple[Tensor, list[float]]:
    """Where each pixel of the mean lies, int64 ``[B, T, 2]`` (down, right), and what it weighs."""
    count = 2 * math.ceil(radius) + 1
    weights = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(count)]
    # On the CPU, in float64: a step is then the same whole pixel on every device.
    radians = degrees.cpu().to(torch.float64).deg2rad()
    directions = torch.stack((radians.sin(), radians.cos()), dim=1)
    steps = torch.arange(count, dtype=torch.float64)
    # Halves go toward the pixel that is left or above.
    offsets = (steps[None, :, None] * directions[:, None] - 0.5).ceil().to(torch.int64)
    return offsets, [weight / sum(weights) for weight in weights]


def _picture_by_picture(whole: Tensor, starts: Tensor, weights: list[float], size: int) -> Tensor:
    """Sums of shifted views: the fastest on a CPU."""
    sums = whole.new_zeros((*whole.shape[:2], size, size))
    for picture, total, places in zip(whole, sums, starts.tolist(), strict=True):
        for (down, right), weight in zip(places, weights, strict=True):
            total.add_(picture[:, down : down + size, right : right + size], alpha=weight)
    return sums


def _step_by_step(whole: Tensor, starts: Tensor, weights: list[float], size: int) -> Tensor:
    """The same for all pictures at once, which keeps an accelerator busy."""
    width = whole.shape[-1]
    span = torch.arange(size)
    inner = (span[:, None] * width + span).flatten()
    firsts = (starts[..., 0] * width + starts[..., 1]).to(whole.device)
    flat, inner = whole.flatten(2), inner.to(whole.device)
    sums = whole.new_zeros((*whole.shape[:2], size * size))
    for step, weight in enumerate(weights):
        places = (firsts[:, step, None] + inner)[:, None].expand(-1, whole.shape[1], -1)
        sums.add_(flat.gather(2, places), alpha=weight)
    return sums.view(*whole.shape[:2], size, size)
