"""RandAugment's geometric operations on batches of uint8 images, equal to Pillow's pixel for pixel.

Every function takes uint8 [B, C, H, W] and returns a new tensor. If the direction is random, a boolean ``mirrored`` [B]
reverses it. Pixels from outside the image are gray 128, as published.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from noisystudent.noise.pixels import choose

FILL = 128
_FIXED_POINT_BITS = 16

Affine = tuple[float, float, float, float, float, float]
"""Coefficients (a, b, c, d, e, f): output pixel (x, y) has the value of (a x + b y + c, d x + e y + f), as in Pillow's
``Image.transform``.
"""


def rotate(pixels: Tensor, degrees: float, mirrored: Tensor) -> Tensor:
    """Rotates every image about its center by ``degrees`` counterclockwise, clockwise where ``mirrored``."""
    height, width = pixels.shape[-2:]
    return affine(
        pixels,
        _rotation(degrees, height=height, width=width),
        _rotation(-degrees, height=height, width=width),
        mirrored,
    )


def shear_x(pixels: Tensor, level: float, mirrored: Tensor) -> Tensor:
    """Shifts every row by ``level`` times its distance from the top edge, left (right where ``mirrored``)."""
    return affine(pixels, (1, level, 0, 0, 1, 0), (1, -level, 0, 0, 1, 0), mirrored)


def shear_y(pixels: Tensor, level: float, mirrored: Tensor) -> Tensor:
    """Shifts every column by ``level`` times its distance from the left edge, up (down where ``mirrored``)."""
    return affine(pixels, (1, 0, 0, level, 1, 0), (1, 0, 0, -level, 1, 0), mirrored)


def translate_x(pixels: Tensor, distance: int, mirrored: Tensor) -> Tensor:
    """Shifts every image by ``distance`` pixels to the left (right where ``mirrored``)."""
    return _shift(pixels, distance, mirrored, axis=3)


def translate_y(pixels: Tensor, distance: int, mirrored: Tensor) -> Tensor:
    """Shifts every image by ``distance`` pixels up (down where ``mirrored``)."""
    return _shift(pixels, distance, mirrored, axis=2)


def _shift(pixels: Tensor, distance: int, mirrored: Tensor, *, axis: int) -> Tensor:
    """Shifts every image by ``distance`` (0 or more) toward the start of ``axis``, to its end where ``mirrored``."""
    gap = min(distance, pixels.shape[axis])
    visible = pixels.shape[axis] - gap
    to_start, to_end = torch.full_like(pixels, FILL), torch.full_like(pixels, FILL)
    to_start.narrow(axis, 0, visible).copy_(pixels.narrow(axis, gap, visible))
    to_end.narrow(axis, gap, visible).copy_(pixels.narrow(axis, 0, visible))
    return choose(mirrored, to_end, to_start)


def cutout(pixels: Tensor, pad: int, centers: Tensor) -> Tensor:
    """Fills a square of every image with gray (DeVries and Taylor, 2017); a square at the border is clipped.

    Args:
        pixels: images, uint8 [B, C, H, W].
        pad: half the edge of the square in pixels.
        centers: centers (row, column) of the squares as fractions of the image, [B, 2] in [0, 1).
    """
    height, width = pixels.shape[-2:]
    row, column = (centers[:, 0] * height).floor(), (centers[:, 1] * width).floor()
    edge = torch.full_like(row, 2 * pad)
    return fill_box(pixels, torch.stack((row - pad, column - pad, edge, edge), dim=1))


def fill_box(pixels: Tensor, boxes: Tensor) -> Tensor:
    """Fills a box (top, left, height, width) of every image, [B, 4], with gray; boxes are clipped to the image."""
    hole = box_mask(boxes, *pixels.shape[-2:]).to(pixels.device)
    return (pixels & ~hole) | (hole & FILL)


def box_mask(boxes: Tensor, height: int, width: int) -> Tensor:
    """Returns 255 within every image's box (top, left, height, width), 0 elsewhere: uint8 [B, 1, height, width]."""
    top, left, box_height, box_width = boxes.unbind(1)
    rows = _between(height, top, top + box_height)
    columns = _between(width, left, left + box_width)
    return rows[:, None, :, None] & columns[:, None, None, :]


def _between(length: int, first: Tensor, end: Tensor) -> Tensor:
    """255 at the positions from ``first`` up to ``end``, 0 elsewhere: uint8 [B, length]."""
    positions = torch.arange(length, device=first.device)
    return ((positions >= first[:, None]) & (positions < end[:, None])).to(torch.uint8) * 255


def affine(pixels: Tensor, straight: Affine, mirrored: Affine, chosen: Tensor) -> Tensor:
    """Maps every image by ``straight``, or by ``mirrored`` where the boolean ``chosen`` [B] is true.

    Nearest neighbor in 16.16 fixed point, as Pillow's ``Image.transform(size, AFFINE, ..., NEAREST)``.
    """
    channels, height, width = pixels.shape[1:]
    sources = _sources(straight, mirrored, height, width, pixels.device)
    sources = sources.index_select(0, chosen.to(pixels.device, torch.int64))
    extended = F.pad(pixels.flatten(2), (0, 1), value=FILL)
    return extended.gather(2, sources[:, None].expand(-1, channels, -1)).view_as(pixels)


# A run uses the same few maps in every batch: five operations, with both directions in one entry.
@lru_cache(maxsize=16)
def _sources(straight: Affine, mirrored: Affine, height: int, width: int, device: torch.device) -> Tensor:
    """The flat index of every output pixel's source for both maps, int64 [2, H * W]; H * W means outside."""
    x, y = torch.arange(width), torch.arange(height)[:, None]
    maps = []
    for a, b, c, d, e, f in (straight, mirrored):
        column = (_fixed(a) * x + _fixed(b) * y + _fixed(c + a * 0.5 + b * 0.5)) >> _FIXED_POINT_BITS
        row = (_fixed(d) * x + _fixed(e) * y + _fixed(f + d * 0.5 + e * 0.5)) >> _FIXED_POINT_BITS
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        maps.append(torch.where(inside, row * width + column, height * width).flatten())
    return torch.stack(maps).to(device)


def _fixed(value: float) -> int:
    return math.floor(value * (1 << _FIXED_POINT_BITS) + 0.5)


def _rotation(degrees: float, *, height: int, width: int) -> Affine:
    """The rotation about the image's center, computed in Pillow's order of operations."""
    angle = -math.radians(degrees % 360.0)
    cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)
    x, y = width / 2.0, height / 2.0
    return (cosine, sine, cosine * -x + sine * -y + x, -sine, cosine, -sine * -x + cosine * -y + y)
