"""Motion blur as ImageMagick defines it: a one-sided Gaussian along an angle, in whole pixels.

Held against the library of ImageMagick 6.9.11 itself
(``tests/unit/evaluation/corruptions/test_against_imagemagick.py``): at most one level apart.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from noisystudent.evaluation.corruptions.filters.edges import extended
from noisystudent.evaluation.corruptions.filters.levels import rounded
from noisystudent.evaluation.corruptions.filters.planes import AT_ONCE, convolved
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields

_LARGE = 48  # pixels from which adding up few shifted images is faster than convolutions of many zeros


def motion_blur(pixels: Tensor, fields: RandomFields, radius: float, sigma: float) -> Tensor:
    """Blur each image, ``uint8 [B, C, S, S]``, along an angle of its own, between -45 and 45 degrees."""
    drawn = fields.uniform(1).squeeze(1)
    return rounded(blurred_along(pixels.to(torch.float32), drawn, (-45.0, 45.0), radius=radius, sigma=sigma))


def blurred_along(values: Tensor, drawn: Tensor, angles: tuple[float, float], *, radius: float, sigma: float) -> Tensor:
    """``values``, float32 ``[B, C, S, S]``, each blurred along an angle between two, less than 180 degrees apart.

    ``drawn`` ``[B]`` in [0, 1] says how far from the first of the ``angles`` to the second. ImageMagick's
    ``MotionBlurImage``: a pixel becomes the mean of itself and the 2 ``radius`` pixels that follow along the angle (0
    is to the right, 90 down), each at the nearest whole pixel, with the weights of a Gaussian of ``sigma`` that is
    centered on the pixel itself. Edges go on with their last value.
    """
    # On the CPU, in float64: a step is then the same whole pixel on every device.
    low, high = angles
    offsets, weights = _steps(low + drawn.cpu().to(torch.float64) * (high - low), radius=radius, sigma=sigma)
    size, reach = values.shape[-1], 2 * math.ceil(radius)
    whole = extended(values, reach, "nearest")
    if values.device.type == "cpu" and size > _LARGE:
        return _by_steps(whole, offsets + reach, weights, size)
    # As far down and right as any angle leads: the middle one is where a sine or cosine is at its end.
    extremes, _ = _steps(torch.tensor([low, (low + high) / 2, high], dtype=torch.float64), radius=radius, sigma=sigma)
    (top, left), (bottom, right) = extremes.amin(dim=(0, 1)).tolist(), extremes.amax(dim=(0, 1)).tolist()
    needed = whole[..., top + reach : bottom + reach + size, left + reach : right + reach + size]
    return _by_kernels(needed, offsets - torch.tensor([top, left]), weights, size)


def _steps(degrees: Tensor, *, radius: float, sigma: float) -> tuple[Tensor, list[float]]:
    """Where each pixel of the mean lies along ``degrees``, int64 ``[B, T, 2]`` (down, right), and what it weighs."""
    count = 2 * math.ceil(radius) + 1
    weights = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(count)]
    radians = degrees.deg2rad()
    directions = torch.stack((radians.sin(), radians.cos()), dim=1)
    steps = torch.arange(count, dtype=torch.float64)
    # Halves go toward the pixel that is left or above.
    offsets = (steps[None, :, None] * directions[:, None] - 0.5).ceil().to(torch.int64)
    return offsets, [weight / sum(weights) for weight in weights]


def _by_steps(whole: Tensor, starts: Tensor, weights: list[float], size: int) -> Tensor:
    """Sums of shifted views, image by image: the fastest for large images on a CPU."""
    sums = whole.new_zeros((*whole.shape[:2], size, size))
    for image, total, places in zip(whole, sums, starts.tolist(), strict=True):
        for (down, right), weight in zip(places, weights, strict=True):
            total.add_(image[:, down : down + size, right : right + size], alpha=weight)
    return sums


def _by_kernels(whole: Tensor, starts: Tensor, weights: list[float], size: int) -> Tensor:
    """The same with a kernel for each image that is empty but for the steps: all images at once."""
    # Kernels of one size, whatever the angles of the images beside: then an image's sums are too.
    height, width = (edge - size + 1 for edge in whole.shape[-2:])
    kernels = torch.zeros(len(whole), height * width)
    kernels.scatter_add_(1, starts[..., 0] * width + starts[..., 1], torch.tensor(weights).expand(len(whole), -1))
    filling = (0, 0, 0, -len(whole) % AT_ONCE)
    images = F.pad(whole.transpose(0, 1), (0, 0, 0, 0, *filling[2:]))
    sums = convolved(images, F.pad(kernels, filling).view(-1, height, width).to(whole.device))
    return sums[:, : len(whole)].transpose(0, 1).contiguous()
