"""Spatter: drops of water or mud on the lens, one of the four extra corruptions.

Water is drawn with the operations of OpenCV that the published code calls: Canny edges, a chamfer distance and
histogram equalization. They are implemented here for batches and tested against OpenCV.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from noisystudent.evaluation.corruptions.filters.edges import gaussian_filter, pad_edges
from noisystudent.evaluation.corruptions.filters.levels import to_gray, truncate_to_uint8
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields

_WATER, _MUD = (175.0, 238.0, 238.0), (63.0, 42.0, 20.0)
_WEAK, _STRONG = 50, 150  # Canny's thresholds
_MAX_DISTANCE = 20.0
_TAN_22, _TAN_BITS = 13573, 15  # the tangent of 22.5 degrees in fixed point
_STEPS = ((0, 1), (1, 0)), ((1, 1), (1, -1)), ((1, 2), (1, -2), (2, 1), (2, -1))  # and the opposite steps
_MOVES = [(*step, length) for length, steps in zip((1.0, 1.4, 2.1969), _STEPS, strict=True) for step in steps]
_RELIEF = ((-2.0, -1.0, 0.0), (-1.0, 1.0, 1.0), (0.0, 1.0, 2.0))


def spatter(
    pixels: Tensor,
    fields: RandomFields,
    location: float,
    scale: float,
    sigma: float,
    threshold: float,
    strength: float,
    mud: float,
) -> Tensor:
    """Draws drops of water or mud over the images.

    Args:
        pixels: uint8 ``[B, C, S, S]``; an image with one channel gets the luma of the drops.
        fields: the images' random numbers.
        location: mean of the normal noise that becomes drops.
        scale: standard deviation of the noise.
        sigma: blur of the noise, in pixels.
        threshold: drops are where the blurred noise is above it.
        strength: the weight of water, or the blur of mud in pixels.
        mud: 1 for mud, 0 for water.

    Returns:
        The images with drops, as ``pixels``.
    """
    size = pixels.shape[-1]
    noise = fields.normal(1, size, size).mul_(scale).add_(location)
    liquid = gaussian_filter(noise, sigma, truncate=4.0, edge="nearest")
    values = pixels.to(torch.float32)
    if mud:
        cover = gaussian_filter((liquid > threshold).to(torch.float32), strength, truncate=4.0, edge="nearest")
        cover = cover.where(cover >= 0.8, 0.0)
        return truncate_to_uint8(values.mul_(1.0 - cover).add_(_color(_MUD, pixels) * cover))
    drops = liquid.where(liquid >= threshold, 0.0).mul_(255.0).clamp_(max=255.0).to(torch.uint8)
    water = _relief(drops).mul_(drops)
    # Without any drop the image does not change; the published code divides by zero.
    brightest = water.amax(dim=(2, 3), keepdim=True).clamp(min=1.0)
    return truncate_to_uint8(values.add_(_color(_WATER, pixels) * water.div_(brightest).mul_(strength)))


def _color(color: tuple[float, float, float], pixels: Tensor) -> Tensor:
    """The color as one pixel ``[1, C, 1, 1]`` with as many channels as ``pixels``."""
    pixel = torch.tensor(color, device=pixels.device).view(1, 3, 1, 1)
    return to_gray(pixel) if pixels.shape[1] == 1 else pixel


def _relief(drops: Tensor) -> Tensor:
    """The relief shading of drops ``uint8 [B, 1, S, S]``, float32 whole levels."""
    distance = _mean_filter(_distance_transform(canny(drops))).floor_()
    lit = F.conv2d(
        pad_edges(_equalize(distance), 1, "mirror"), drops.new_tensor(_RELIEF, dtype=torch.float32)[None, None]
    )
    return _mean_filter(lit.clamp_(0.0, 255.0)).round_()


def canny(levels: Tensor) -> Tensor:
    """Canny edges of ``uint8 [B, 1, S, S]`` with the thresholds 50 and 150, as a mask equal to OpenCV's."""
    values = pad_edges(levels.to(torch.int32), 1, "nearest")
    top, middle, bottom = values[..., :-2, :], values[..., 1:-1, :], values[..., 2:, :]
    column = top + 2 * middle + bottom
    across = column[..., 2:] - column[..., :-2]
    row = bottom - top
    down = row[..., :-2] + 2 * row[..., 1:-1] + row[..., 2:]
    size_across, size_down = across.abs(), down.abs()
    strength = size_across + size_down
    around = F.pad(strength, (1, 1, 1, 1))
    edge = levels.shape[-1]

    def neighbor(below: int, right: int) -> Tensor:
        return around[..., 1 + below : 1 + below + edge, 1 + right : 1 + right + edge]

    flat = size_across * _TAN_22
    steep = flat + (size_across << (_TAN_BITS + 1))
    height = size_down << _TAN_BITS
    falling = (across ^ down) < 0
    ridge = torch.where(
        height < flat,
        (strength > neighbor(0, -1)) & (strength >= neighbor(0, 1)),
        torch.where(
            height > steep,
            (strength > neighbor(-1, 0)) & (strength >= neighbor(1, 0)),
            torch.where(
                falling,
                (strength > neighbor(-1, 1)) & (strength > neighbor(1, -1)),
                (strength > neighbor(-1, -1)) & (strength > neighbor(1, 1)),
            ),
        ),
    )
    return _connected_to(ridge & (strength > _STRONG), ridge & (strength > _WEAK))


def _connected_to(strong: Tensor, weak: Tensor) -> Tensor:
    """The pixels of ``weak`` that are connected to ``strong`` through ``weak``, by sides or corners."""
    connected = strong
    while True:
        grown = (F.max_pool2d(connected.to(torch.float32), 3, stride=1, padding=1) > 0) & weak
        if torch.equal(grown, connected):
            return connected
        connected = grown


def _distance_transform(edges: Tensor) -> Tensor:
    """The chamfer distance of each pixel from an edge, float32, at most 20, by steps of 1, 1.4 and 2.1969."""
    size = edges.shape[-1]
    distance = torch.where(edges, 0.0, _MAX_DISTANCE)
    while True:
        around = F.pad(distance, (2, 2, 2, 2), value=_MAX_DISTANCE)
        nearer = distance
        for below, right, length in _MOVES:
            for sign in (1, -1):
                top, left = 2 + sign * below, 2 + sign * right
                nearer = nearer.minimum(around[..., top : top + size, left : left + size] + length)
        if torch.equal(nearer, distance):
            return distance
        distance = nearer


def _mean_filter(values: Tensor) -> Tensor:
    """The mean of 3 by 3 pixels; edges are mirrored."""
    return F.avg_pool2d(pad_edges(values, 1, "mirror"), 3, stride=1)


def _equalize(levels: Tensor) -> Tensor:
    """Equalizes the histogram of whole levels, float32 ``[B, 1, S, S]``, as OpenCV's ``equalizeHist`` does."""
    flat = levels.flatten(1).to(torch.int64)
    counts = flat.new_zeros(len(flat), 256).scatter_add_(1, flat, torch.ones_like(flat))
    darkest = flat.amin(dim=1, keepdim=True)
    darkest_count = counts.gather(1, darkest)
    rest = flat.shape[1] - darkest_count
    table = (counts.cumsum(1) - darkest_count).to(torch.float32).mul_(255.0 / rest.clamp(min=1)).round_()
    table = torch.where(rest > 0, table, torch.arange(256, device=levels.device, dtype=torch.float32))
    return table.gather(1, flat).view_as(levels)
