"""Motion blur as ImageMagick defines it: a one-sided Gaussian along an angle, in whole pixels.

Results differ from those of the library of ImageMagick 6.9.11 by at most one level
(``tests/unit/evaluation/corruptions/test_against_imagemagick.py``).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from noisystudent.evaluation.corruptions.filters.edges import pad_edges
from noisystudent.evaluation.corruptions.filters.levels import round_to_uint8
from noisystudent.evaluation.corruptions.filters.planes import PLANES_PER_GROUP, correlate
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields

_LARGE = 48  # above this many pixels, summing shifted images is faster than convolutions with mostly zero kernels


def motion_blur(pixels: Tensor, fields: RandomFields, radius: float, sigma: float) -> Tensor:
    """Blurs each image, ``uint8 [B, C, S, S]``, along a random angle between -45 and 45 degrees."""
    drawn = fields.uniform(1).squeeze(1)
    return round_to_uint8(blur_along(pixels.to(torch.float32), drawn, (-45.0, 45.0), radius=radius, sigma=sigma))


def blur_along(values: Tensor, drawn: Tensor, angles: tuple[float, float], *, radius: float, sigma: float) -> Tensor:
    """Blurs each image along an angle as ImageMagick's ``MotionBlurImage`` does.

    A pixel becomes the weighted mean of itself and the 2 ``radius`` pixels that follow along the angle, each at the
    nearest whole pixel. The weights are those of a Gaussian centered on the pixel itself. Beyond an edge its last
    value repeats.

    Args:
        values: float32 ``[B, C, S, S]``.
        drawn: the position of each image's angle between the two ``angles``, from 0 to 1, ``[B]``.
        angles: the first and last angle in degrees, less than 180 degrees apart; 0 is to the right, 90 down.
        radius: half the number of pixels that follow.
        sigma: standard deviation of the Gaussian, in pixels.

    Returns:
        The blurred values, float32 ``[B, C, S, S]``.
    """
    # float64 on the CPU: offsets are then the same whole pixels on every device.
    low, high = angles
    offsets, weights = _offsets(low + drawn.cpu().to(torch.float64) * (high - low), radius=radius, sigma=sigma)
    size, reach = values.shape[-1], 2 * math.ceil(radius)
    padded = pad_edges(values, reach, "nearest")
    if values.device.type == "cpu" and size > _LARGE:
        return _blur_by_shifts(padded, offsets + reach, weights, size)
    # The extremes over all angles: for the ranges in use, sine or cosine is extreme at either end or in the middle.
    extremes, _ = _offsets(torch.tensor([low, (low + high) / 2, high], dtype=torch.float64), radius=radius, sigma=sigma)
    (top, left), (bottom, right) = extremes.amin(dim=(0, 1)).tolist(), extremes.amax(dim=(0, 1)).tolist()
    visible = padded[..., top + reach : bottom + reach + size, left + reach : right + reach + size]
    return _blur_by_kernels(visible, offsets - torch.tensor([top, left]), weights, size)


def _offsets(degrees: Tensor, *, radius: float, sigma: float) -> tuple[Tensor, list[float]]:
    """The offset of each pixel in the mean along ``degrees``, int64 ``[B, T, 2]`` (down, right), and its weight."""
    count = 2 * math.ceil(radius) + 1
    weights = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(count)]
    radians = degrees.deg2rad()
    directions = torch.stack((radians.sin(), radians.cos()), dim=1)
    steps = torch.arange(count, dtype=torch.float64)
    # Halves round to the pixel on the left or above.
    offsets = (steps[None, :, None] * directions[:, None] - 0.5).ceil().to(torch.int64)
    return offsets, [weight / sum(weights) for weight in weights]


def _blur_by_shifts(padded: Tensor, offsets: Tensor, weights: list[float], size: int) -> Tensor:
    """Sums shifted views image by image: the fastest for large images on a CPU."""
    sums = padded.new_zeros((*padded.shape[:2], size, size))
    for image, total, image_offsets in zip(padded, sums, offsets.tolist(), strict=True):
        for (down, right), weight in zip(image_offsets, weights, strict=True):
            total.add_(image[:, down : down + size, right : right + size], alpha=weight)
    return sums


def _blur_by_kernels(padded: Tensor, offsets: Tensor, weights: list[float], size: int) -> Tensor:
    """Correlates all images at once, each with a kernel that is zero except at its offsets."""
    # All kernels have one size, whatever the angles of the other images, so an image's sums do not depend on these.
    height, width = (edge - size + 1 for edge in padded.shape[-2:])
    kernels = torch.zeros(len(padded), height * width)
    kernels.scatter_add_(1, offsets[..., 0] * width + offsets[..., 1], torch.tensor(weights).expand(len(padded), -1))
    padding = (0, 0, 0, -len(padded) % PLANES_PER_GROUP)
    images = F.pad(padded.transpose(0, 1), (0, 0, 0, 0, *padding[2:]))
    sums = correlate(images, F.pad(kernels, padding).view(-1, height, width).to(padded.device))
    return sums[:, : len(padded)].transpose(0, 1).contiguous()
