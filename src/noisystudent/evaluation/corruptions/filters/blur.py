"""Blurs that are the same for every image: Gaussian, out of focus, zoomed.

Every function takes ``uint8 [B, C, S, S]`` and the parameters of a severity, in the order of the published tables, and
returns a new tensor of the same shape.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from noisystudent.evaluation.corruptions.filters.edges import beyond, extended, gaussian_blurred
from noisystudent.evaluation.corruptions.filters.levels import cut_off
from noisystudent.evaluation.corruptions.filters.planes import as_channels, convolved, from_channels

_LEAST_REACH = 8  # the published code draws its disks of up to 8 px on a square of 17
_NEGLIGIBLE = 1e-9  # of a kernel's sum of 1


def gaussian_blur(pixels: Tensor, sigma: float) -> Tensor:
    """Blur by a Gaussian of ``sigma`` pixels, cut off after four of them; edges go on with their last value."""
    return cut_off(gaussian_blurred(pixels.to(torch.float32), sigma, truncate=4.0, edge="nearest"))


def defocus_blur(pixels: Tensor, radius: float, alias_sigma: float) -> Tensor:
    """Blur by a disk of ``radius`` pixels whose own border is smoothed by ``alias_sigma``; edges are mirrored."""
    kernel = disk(radius, alias_sigma).to(pixels.device)
    planes = as_channels(extended(pixels.to(torch.float32), len(kernel) // 2, "mirror"))
    blurred = convolved(planes, kernel.expand(planes.shape[1], -1, -1))
    return cut_off(from_channels(blurred, pixels.shape))


@lru_cache(maxsize=16)
def disk(radius: float, alias_sigma: float) -> Tensor:
    """The published kernel: a smoothed disk of sum 1, float32 ``[2 R + 1, 2 R + 1]`` with no empty border.

    The disk is smoothed on its own square, 17 px or as large as itself, whose border is mirrored: what the smoothing
    would carry across it comes back.
    """
    reach = max(_LEAST_REACH, int(radius))
    steps = np.arange(-reach, reach + 1)
    inside = steps[:, None] ** 2 + steps**2 <= radius**2
    offsets = np.arange(-1, 2) if radius <= _LEAST_REACH else np.arange(-2, 3)
    weights = np.exp(-0.5 * (offsets / alias_sigma) ** 2)
    smoothing = np.zeros((len(steps), len(steps)))
    for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
        smoothing[steps + reach, beyond(steps + reach + offset, len(steps), "mirror")] += weight
    kernel = smoothing @ (inside / inside.sum()) @ smoothing.T
    border = int(np.flatnonzero(kernel.max(axis=0) > _NEGLIGIBLE)[0])
    kept = slice(border, len(steps) - border)
    return torch.from_numpy(kernel[kept, kept].astype(np.float32))


def zoom_blur(pixels: Tensor, largest: float, step: float) -> Tensor:
    """Average the image with enlargements of its middle, from 1 up to ``largest`` in steps of ``step``.

    The factors are those of NumPy's ``arange`` in floating point, which may include the end (12, 16, 11, 13 and 11 of
    them at 224 px). Factor 1 is one of them, and the image is added once more.
    """
    planes = as_channels(pixels.to(torch.float32))
    factors = np.arange(1, largest, step).tolist()
    total = planes * 2.0
    for factor in factors[1:]:
        total += clipped_zoom(planes, factor)
    return cut_off(from_channels(total.div_(len(factors) + 1), pixels.shape))


def clipped_zoom(values: Tensor, factor: float) -> Tensor:
    """The middle of ``values``, float32 ``[B, C, S, S]``, enlarged by ``factor`` (1 or more) to S pixels again."""
    size = values.shape[-1]
    if factor == 1:
        return values
    cut = kept_by_zoom(size, factor)
    top = (size - cut) // 2
    return enlarged(values[..., top : top + cut, top : top + cut], factor, size)


def kept_by_zoom(size: int, factor: float) -> int:
    """How many of ``size`` pixels an enlargement by ``factor`` shows."""
    return math.ceil(size / factor)


def enlarged(values: Tensor, factor: float, size: int) -> Tensor:
    """``values`` ``[B, C, N, N]`` enlarged by ``factor`` between the middles of its outer pixels; ``size`` are kept."""
    edge = round(values.shape[-1] * factor)
    whole = F.interpolate(values, size=(edge, edge), mode="bilinear", align_corners=True)
    trim = (edge - size) // 2
    return whole[..., trim : trim + size, trim : trim + size]
