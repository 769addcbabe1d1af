"""RandAugment's color operations on batches of uint8 images, equal to Pillow's pixel for pixel.

Every function takes ``uint8 [B, C, H, W]`` with one or three channels and returns a new tensor of the same
shape. The arithmetic follows Pillow's to the rounding: its blend works in float32 and cuts the fraction
off, its contrast stretch in float64. Sums and products are separate operations here, never fused, so that
CPU and CUDA agree.
"""

from __future__ import annotations

import torch
from torch import Tensor

from noisystudent.noise.pixels import to_bytes

_LEVELS = 256
_LARGE_PLANE = 64 * 64  # pixels from which counting plane by plane is faster on a CPU than all planes at once


def invert(pixels: Tensor) -> Tensor:
    """The negative of each image."""
    return 255 - pixels


def solarize(pixels: Tensor, threshold: int) -> Tensor:
    """Invert the pixels at or above ``threshold``; a threshold above 255 leaves every pixel as it is."""
    return pixels ^ _at_least(pixels, threshold)


def solarize_add(pixels: Tensor, addition: int, threshold: int = 128) -> Tensor:
    """Add ``addition`` (0 or more) to the pixels below ``threshold``, up to 255."""
    room = (255 - pixels).clamp_(max=min(addition, 255))
    return pixels + (room & ~_at_least(pixels, threshold))


def _at_least(pixels: Tensor, threshold: int) -> Tensor:
    """255 where a pixel is ``threshold`` or more, else 0: torch.where on bytes takes ten times as long."""
    if threshold <= 0:
        return torch.full_like(pixels, 255)
    if threshold > 255:
        return torch.zeros_like(pixels)
    return 0 - (pixels.clamp(min=threshold - 1) - (threshold - 1)).clamp_(max=1)


def posterize(pixels: Tensor, bits: int) -> Tensor:
    """Keep the ``bits`` highest bits of each pixel, at least one; eight or more leave it as it is."""
    kept = min(max(bits, 1), 8)
    return pixels & (0xFF << (8 - kept) & 0xFF)


def brightness(pixels: Tensor, factor: Tensor | float) -> Tensor:
    """Blend with black: 0 is black, 1 the image (Pillow's ``ImageEnhance.Brightness``)."""
    return to_bytes(pixels.to(torch.float32).mul_(factor))


def contrast(pixels: Tensor, factor: Tensor | float) -> Tensor:
    """Blend with the image's mean gray, rounded to a whole level (Pillow's ``ImageEnhance.Contrast``)."""
    luma = _luma(pixels.to(torch.float32))
    # A row's sum is a whole number below 2^24, so float32 is exact; that of a large image is not.
    total = luma.sum(dim=3, keepdim=True).sum(dim=(1, 2, 3), keepdim=True, dtype=torch.float64)
    mean = (total / luma[0].numel() + 0.5).floor().to(torch.float32)
    del luma
    return _blend(mean, pixels.to(torch.float32), factor)


def saturation(pixels: Tensor, factor: Tensor | float) -> Tensor:
    """Blend with the gray image (Pillow's ``ImageEnhance.Color``); a gray image stays as it is."""
    if pixels.shape[1] == 1:
        return pixels.clone()
    whole = pixels.to(torch.float32)
    return _blend(_luma(whole), whole, factor)


def sharpness(pixels: Tensor, factor: Tensor | float) -> Tensor:
    """Blend with the smoothed image (Pillow's ``ImageEnhance.Sharpness``): 0 is smooth, 1 the image.

    The smoothing kernel is (1 1 1; 1 5 1; 1 1 1) / 13; the outermost pixels are not smoothed.
    """
    sharpened = pixels.clone()
    if min(pixels.shape[-2:]) >= 3:
        inner = sharpened[..., 1:-1, 1:-1]
        inner.copy_(_blend(_smooth(pixels), inner.to(torch.float32), factor))
    return sharpened


def _smooth(pixels: Tensor) -> Tensor:
    """All pixels but the outermost smoothed, as float32 ``[B, C, H - 2, W - 2]``."""
    whole = pixels.to(torch.int16)
    columns = (whole[..., :-2] + whole[..., 1:-1]).add_(whole[..., 2:])
    total = (columns[..., :-2, :] + columns[..., 1:-1, :]).add_(columns[..., 2:, :])
    total.add_(whole[..., 1:-1, 1:-1], alpha=4)
    # Thirteenths lie at least 1/26 away from where rounding turns, so float32 rounds them as exact numbers
    # would.
    return total.to(torch.float32).add_(6.5).mul_(1.0 / 13.0).floor_()


def autocontrast(pixels: Tensor) -> Tensor:
    """Stretch each channel so that its darkest level becomes 0 and its brightest 255."""
    flat = pixels.flatten(2)
    low = flat.amin(dim=2, keepdim=True).to(torch.float64)
    high = flat.amax(dim=2, keepdim=True).to(torch.float64)
    # A true quotient: torch computes number / tensor as a product with the reciprocal, one bit off Pillow's.
    scale = torch.where(high > low, torch.full_like(low, 255.0) / (high - low), 1.0)
    offset = torch.where(high > low, -low * scale, 0.0)
    levels = torch.arange(_LEVELS, dtype=torch.float64, device=pixels.device)
    table = (levels * scale + offset).clamp_(0.0, 255.0).to(torch.uint8)
    return _looked_up(pixels, table)


def equalize(pixels: Tensor) -> Tensor:
    """Flatten each channel's histogram (Pillow's ``ImageOps.equalize``); a channel of one level stays as it
    is.
    """
    counts = _histogram(pixels)
    flat = pixels.flatten(2)
    brightest = flat.amax(dim=2, keepdim=True).to(torch.int64)
    step = (flat.shape[2] - counts.gather(2, brightest)).div(255, rounding_mode="floor")
    before = counts.cumsum(2) - counts
    spread = (step.div(2, rounding_mode="floor") + before).div(step.clamp(min=1), rounding_mode="floor")
    levels = torch.arange(_LEVELS, device=pixels.device)
    table = torch.where(step > 0, spread.clamp(max=255), levels).to(torch.uint8)
    return _looked_up(pixels, table)


def _histogram(pixels: Tensor) -> Tensor:
    """How often each level occurs in each plane, int64 ``[B, C, 256]``."""
    batch, channels, height, width = pixels.shape
    planes = pixels.flatten(2).flatten(0, 1)
    if pixels.device.type == "cpu" and height * width >= _LARGE_PLANE:
        # Bytes are counted as they are, without an int64 copy.
        return torch.stack([torch.bincount(plane, minlength=_LEVELS) for plane in planes]).view(batch, channels, -1)
    rows = torch.arange(len(planes), device=pixels.device)[:, None] * _LEVELS
    places = planes.to(torch.int64).add_(rows).flatten()
    counts = places.new_zeros(len(planes) * _LEVELS)
    # One flat axis: that form of scatter_add_ has a deterministic version on CUDA.
    counts.scatter_add_(0, places, counts.new_ones(()).expand(len(places)))
    return counts.view(batch, channels, _LEVELS)


def _looked_up(pixels: Tensor, table: Tensor) -> Tensor:
    """Each level replaced by its entry in the plane's own row of ``table`` (``[B, C, 256]``)."""
    return table.gather(2, pixels.flatten(2).to(torch.int64)).view_as(pixels)


def _luma(pixels: Tensor) -> Tensor:
    """Gray levels, float32 ``[B, 1, H, W]``, by ITU-R 601-2 in Pillow's 16-bit fixed point, of float32 pixels."""
    if pixels.shape[1] == 1:
        return pixels
    # The weighted sum is a whole number below 2^24, so float32 is exact, fused or not.
    red, green, blue = pixels[:, :, None].unbind(1)
    weighted = (red * 19595.0).add_(green, alpha=38470.0).add_(blue, alpha=7471.0).add_(32768.0)
    return weighted.mul_(2.0**-16).floor_()


def _blend(base: Tensor, pixels: Tensor, factor: Tensor | float) -> Tensor:
    """``base + factor * (pixels - base)`` as uint8, the fraction cut off; the float32 ``pixels`` are overwritten."""
    return to_bytes(pixels.sub_(base).mul_(factor).add_(base))
