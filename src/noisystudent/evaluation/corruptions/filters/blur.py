"""Blurs without random numbers: Gaussian, defocus and zoom blur.

Every function takes ``uint8 [B, C, S, S]`` and the parameters of one severity, in the order of the published tables,
and returns a new tensor of the same shape.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from noisystudent.evaluation.corruptions.filters.edges import gaussian_filter, pad_edges, source_positions
from noisystudent.evaluation.corruptions.filters.levels import truncate_to_uint8
from noisystudent.evaluation.corruptions.filters.planes import as_channels, correlate, from_channels

_MIN_REACH = 8  # the published code draws disks of up to 8 px on a square of 17
_NEGLIGIBLE = 1e-9  # relative to the kernel's sum of 1


def gaussian_blur(pixels: Tensor, sigma: float) -> Tensor:
    """Blurs with a Gaussian of ``sigma`` pixels, truncated at 4 ``sigma``; beyond an edge its last value repeats."""
    return truncate_to_uint8(gaussian_filter(pixels.to(torch.float32), sigma, truncate=4.0, edge="nearest"))


def defocus_blur(pixels: Tensor, radius: float, alias_sigma: float) -> Tensor:
    """Blurs with a disk of ``radius`` pixels, whose border is smoothed with ``alias_sigma``; edges are mirrored."""
    kernel = disk(radius, alias_sigma).to(pixels.device)
    planes = as_channels(pad_edges(pixels.to(torch.float32), len(kernel) // 2, "mirror"))
    blurred = correlate(planes, kernel.expand(planes.shape[1], -1, -1))
    return truncate_to_uint8(from_channels(blurred, pixels.shape))


@lru_cache(maxsize=16)
def disk(radius: float, alias_sigma: float) -> Tensor:
    """The published kernel: a smoothed disk of sum 1, float32 ``[2 R + 1, 2 R + 1]`` without an empty border.

    The disk is smoothed on a square of 17 px, or of the disk's own size if that is larger, with mirrored edges: what
    the smoothing would move across an edge comes back.
    """
    reach = max(_MIN_REACH, int(radius))
    steps = np.arange(-reach, reach + 1)
    inside = steps[:, None] ** 2 + steps**2 <= radius**2
    offsets = np.arange(-1, 2) if radius <= _MIN_REACH else np.arange(-2, 3)
    weights = np.exp(-0.5 * (offsets / alias_sigma) ** 2)
    smoothing = np.zeros((len(steps), len(steps)))
    for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
        smoothing[steps + reach, source_positions(steps + reach + offset, len(steps), "mirror")] += weight
    kernel = smoothing @ (inside / inside.sum()) @ smoothing.T
    border = int(np.flatnonzero(kernel.max(axis=0) > _NEGLIGIBLE)[0])
    inner = slice(border, len(steps) - border)
    return torch.from_numpy(kernel[inner, inner].astype(np.float32))


def zoom_blur(pixels: Tensor, largest: float, step: float) -> Tensor:
    """Averages the image with enlargements of its center by factors from 1 to ``largest`` in steps of ``step``.

    The factors are those of NumPy's ``arange`` in floating point, which may include the end: 12, 16, 11, 13 and 11
    factors at 224 px. Factor 1 is one of them, and the image itself is added once more.
    """
    planes = as_channels(pixels.to(torch.float32))
    factors = np.arange(1, largest, step).tolist()
    total = planes * 2.0
    for factor in factors[1:]:
        total += clipped_zoom(planes, factor)
    return truncate_to_uint8(from_channels(total.div_(len(factors) + 1), pixels.shape))


def clipped_zoom(values: Tensor, factor: float) -> Tensor:
    """The center of ``values``, float32 ``[B, C, S, S]``, enlarged by ``factor`` (1 or more) to S pixels again."""
    size = values.shape[-1]
    if factor == 1:
        return values
    cut = visible_size(size, factor)
    top = (size - cut) // 2
    return enlarge(values[..., top : top + cut, top : top + cut], factor, size)


def visible_size(size: int, factor: float) -> int:
    """The number of pixels, of ``size``, that remain visible after enlarging the center by ``factor``."""
    return math.ceil(size / factor)


def enlarge(values: Tensor, factor: float, size: int) -> Tensor:
    """Enlarges ``values`` ``[B, C, N, N]`` by ``factor`` with its corner pixels fixed, then crops to ``size``."""
    edge = round(values.shape[-1] * factor)
    whole = F.interpolate(values, size=(edge, edge), mode="bilinear", align_corners=True)
    trim = (edge - size) // 2
    return whole[..., trim : trim + size, trim : trim + size]
