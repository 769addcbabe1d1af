"""RandAugment's color operations on batches of uint8 images, equal to Pillow's pixel for pixel.

Every function takes uint8 [B, C, H, W] with one or three channels and returns a new tensor of the same shape. The
arithmetic rounds as Pillow's does: its blend works in float32 and truncates, its contrast stretch works in float64.
Sums and products are separate operations here, never fused, so that CPU and CUDA agree.
"""

from __future__ import annotations

import torch
from torch import Tensor

from noisystudent.noise.pixels import to_bytes

_LEVELS = 256
_LARGE_PLANE = 64 * 64  # pixels; from here on, a CPU counts plane by plane faster than all planes at once


def invert(pixels: Tensor) -> Tensor:
    """Inverts the images: v becomes 255 - v."""
    return 255 - pixels


def solarize(pixels: Tensor, threshold: int) -> Tensor:
    """Inverts the pixels at or above ``threshold``; a threshold above 255 changes nothing."""
    return pixels ^ _at_least(pixels, threshold)


def solarize_add(pixels: Tensor, addition: int, threshold: int = 128) -> Tensor:
    """Adds ``addition`` (0 or more) to the pixels below ``threshold``, up to 255."""
    possible = (255 - pixels).clamp_(max=min(addition, 255))
    return pixels + (possible & ~_at_least(pixels, threshold))


def _at_least(pixels: Tensor, threshold: int) -> Tensor:
    """255 where a pixel is at least ``threshold``, else 0; torch.where on bytes is ten times slower."""
    if threshold <= 0:
        return torch.full_like(pixels, 255)
    if threshold > 255:
        return torch.zeros_like(pixels)
    return 0 - (pixels.clamp(min=threshold - 1) - (threshold - 1)).clamp_(max=1)


def posterize(pixels: Tensor, bits: int) -> Tensor:
    """Keeps the ``bits`` highest bits of every pixel, at least one; eight or more change nothing."""
    bits = min(max(bits, 1), 8)
    return pixels & (0xFF << (8 - bits) & 0xFF)


def brightness(pixels: Tensor, factor: Tensor | float) -> Tensor:
    """Blends with black: factor 0 is black, 1 is the image (Pillow's ``ImageEnhance.Brightness``)."""
    return to_bytes(pixels.to(torch.float32).mul_(factor))


def contrast(pixels: Tensor, factor: Tensor | float) -> Tensor:
    """Blends with the image's mean gray, rounded to a whole level (Pillow's ``ImageEnhance.Contrast``)."""
    luma = _luma(pixels.to(torch.float32))
    # The sum of a row is a whole number below 2^24, so float32 is exact; the sum of a large image is not.
    total = luma.sum(dim=3, keepdim=True).sum(dim=(1, 2, 3), keepdim=True, dtype=torch.float64)
    mean = (total / luma[0].numel() + 0.5).floor().to(torch.float32)
    del luma
    return _blend(mean, pixels.to(torch.float32), factor)


def contrast_as_released(pixels: Tensor, factor: Tensor | float) -> Tensor:
    """Blends with a gray that depends on the image's area alone, as Contrast of the released TensorFlow code does.

    The code divides the sum of the gray histogram's counts, which is the number of pixels, by 256, where the mean gray
    would be the sum of count times level by the number of pixels: level 4 at 32 px, 196 at 224, 255 from 256 on.
    """
    height, width = pixels.shape[-2:]
    gray = float(min(height * width // _LEVELS, _LEVELS - 1))
    return _blend(torch.full_like(pixels[:, :1], gray, dtype=torch.float32), pixels.to(torch.float32), factor)


def saturation(pixels: Tensor, factor: Tensor | float) -> Tensor:
    """Blends with the gray image (Pillow's ``ImageEnhance.Color``); gray images do not change."""
    if pixels.shape[1] == 1:
        return pixels.clone()
    values = pixels.to(torch.float32)
    return _blend(_luma(values), values, factor)


def sharpness(pixels: Tensor, factor: Tensor | float) -> Tensor:
    """Blends with the smoothed image: factor 0 is smooth, 1 is the image (Pillow's ``ImageEnhance.Sharpness``).

    The smoothing kernel is (1 1 1; 1 5 1; 1 1 1) / 13; the outermost pixels are not smoothed.
    """
    sharpened = pixels.clone()
    if min(pixels.shape[-2:]) >= 3:
        inner = sharpened[..., 1:-1, 1:-1]
        inner.copy_(_blend(_smooth(pixels), inner.to(torch.float32), factor))
    return sharpened


def _smooth(pixels: Tensor) -> Tensor:
    """The smoothed pixels except the outermost, as float32 [B, C, H - 2, W - 2]."""
    values = pixels.to(torch.int16)
    columns = (values[..., :-2] + values[..., 1:-1]).add_(values[..., 2:])
    total = (columns[..., :-2, :] + columns[..., 1:-1, :]).add_(columns[..., 2:, :])
    total.add_(values[..., 1:-1, 1:-1], alpha=4)
    # Thirteenths are at least 1/26 away from a rounding boundary, so float32 rounds them as exact numbers.
    return total.to(torch.float32).add_(6.5).mul_(1.0 / 13.0).floor_()


def autocontrast(pixels: Tensor) -> Tensor:
    """Stretches every channel so that its darkest level becomes 0 and its brightest 255."""
    flat = pixels.flatten(2)
    low = flat.amin(dim=2, keepdim=True).to(torch.float64)
    high = flat.amax(dim=2, keepdim=True).to(torch.float64)
    # A true quotient: torch computes number / tensor as a product with the reciprocal, which differs from Pillow's.
    scale = torch.where(high > low, torch.full_like(low, 255.0) / (high - low), 1.0)
    offset = torch.where(high > low, -low * scale, 0.0)
    levels = torch.arange(_LEVELS, dtype=torch.float64, device=pixels.device)
    table = (levels * scale + offset).clamp_(0.0, 255.0).to(torch.uint8)
    return _look_up(pixels, table)


def equalize(pixels: Tensor) -> Tensor:
    """Equalizes every channel's histogram (Pillow's ``ImageOps.equalize``); a channel of one level does not change."""
    counts = _histogram(pixels)
    flat = pixels.flatten(2)
    brightest = flat.amax(dim=2, keepdim=True).to(torch.int64)
    step = (flat.shape[2] - counts.gather(2, brightest)).div(255, rounding_mode="floor")
    before = counts.cumsum(2) - counts
    spread = (step.div(2, rounding_mode="floor") + before).div(step.clamp(min=1), rounding_mode="floor")
    levels = torch.arange(_LEVELS, device=pixels.device)
    table = torch.where(step > 0, spread.clamp(max=255), levels).to(torch.uint8)
    return _look_up(pixels, table)


def _histogram(pixels: Tensor) -> Tensor:
    """The counts of the levels in every plane, int64 [B, C, 256]."""
    batch, channels, height, width = pixels.shape
    planes = pixels.flatten(2).flatten(0, 1)
    if pixels.device.type == "cpu" and height * width >= _LARGE_PLANE:
        # Counts bytes directly, without an int64 copy.
        return torch.stack([torch.bincount(plane, minlength=_LEVELS) for plane in planes]).view(batch, channels, -1)
    rows = torch.arange(len(planes), device=pixels.device)[:, None] * _LEVELS
    bins = planes.to(torch.int64).add_(rows).flatten()
    counts = bins.new_zeros(len(planes) * _LEVELS)
    # With one flat axis, scatter_add_ has a deterministic version on CUDA.
    counts.scatter_add_(0, bins, counts.new_ones(()).expand(len(bins)))
    return counts.view(batch, channels, _LEVELS)


def _look_up(pixels: Tensor, table: Tensor) -> Tensor:
    """Replaces every level by its entry in the plane's row of ``table`` [B, C, 256]."""
    return table.gather(2, pixels.flatten(2).to(torch.int64)).view_as(pixels)


def _luma(pixels: Tensor) -> Tensor:
    """Gray levels of float32 pixels, float32 [B, 1, H, W], by ITU-R 601-2 in Pillow's 16-bit fixed point."""
    if pixels.shape[1] == 1:
        return pixels
    # The weighted sum is a whole number below 2^24, so float32 is exact, fused or not.
    red, green, blue = pixels[:, :, None].unbind(1)
    weighted = (red * 19595.0).add_(green, alpha=38470.0).add_(blue, alpha=7471.0).add_(32768.0)
    return weighted.mul_(2.0**-16).floor_()


def _blend(base: Tensor, pixels: Tensor, factor: Tensor | float) -> Tensor:
    """``base + factor * (pixels - base)`` truncated to uint8; the float32 ``pixels`` are overwritten."""
    return to_bytes(pixels.sub_(base).mul_(factor).add_(base))
