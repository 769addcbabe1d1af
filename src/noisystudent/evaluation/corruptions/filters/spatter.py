"""Spatter: drops of water or mud on the lens. One of the four extra corruptions.

Water is drawn with the operations of OpenCV that the published code calls: Canny's edges, a chamfer distance, an
equalized histogram. They are here on batches, held against OpenCV's.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from noisystudent.evaluation.corruptions.filters.edges import extended, gaussian_blurred
from noisystudent.evaluation.corruptions.filters.levels import cut_off, gray
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields

_WATER, _MUD = (175.0, 238.0, 238.0), (63.0, 42.0, 20.0)
_WEAK, _STRONG = 50, 150  # Canny's thresholds
_FARTHEST = 20.0
_TAN_22, _TAN_BITS = 13573, 15  # the tangent of 22.5 degrees in fixed point
_STEPS = ((0, 1), (1, 0)), ((1, 1), (1, -1)), ((1, 2), (1, -2), (2, 1), (2, -1))  # and their opposites
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
    """Lay drops over the images, ``uint8 [B, C, S, S]``: of mud where ``mud`` is 1, else of water.

    The drops are normal noise (``location``, ``scale``) blurred by ``sigma``, where it is above ``threshold``;
    ``strength`` is the weight of water, or how far mud is blurred. A gray image gets the luma of the drops.
    """
    size = pixels.shape[-1]
    noise = fields.normal(1, size, size).mul_(scale).add_(location)
    liquid = gaussian_blurred(noise, sigma, truncate=4.0, edge="nearest")
    values = pixels.to(torch.float32)
    if mud:
        cover = gaussian_blurred((liquid > threshold).to(torch.float32), strength, truncate=4.0, edge="nearest")
        cover = cover.where(cover >= 0.8, 0.0)
        return cut_off(values.mul_(1.0 - cover).add_(_color(_MUD, pixels) * cover))
    drops = liquid.where(liquid >= threshold, 0.0).mul_(255.0).clamp_(max=255.0).to(torch.uint8)
    water = _relief(drops).mul_(drops)
    # No drop at all leaves the image as it is; the published code divides by zero there.
    most = water.amax(dim=(2, 3), keepdim=True).clamp(min=1.0)
    return cut_off(values.add_(_color(_WATER, pixels) * water.div_(most).mul_(strength)))


def _color(color: tuple[float, float, float], pixels: Tensor) -> Tensor:
    """The color as one pixel ``[1, C, 1, 1]`` of such images."""
    pixel = torch.tensor(color, device=pixels.device).view(1, 3, 1, 1)
    return gray(pixel) if pixels.shape[1] == 1 else pixel


def _relief(drops: Tensor) -> Tensor:
    """How brightly the light falls on drops ``uint8 [B, 1, S, S]``, float32 whole levels."""
    distance = _smoothed(_distances(canny(drops))).floor_()
    lit = F.conv2d(
        extended(_equalized(distance), 1, "mirror"), drops.new_tensor(_RELIEF, dtype=torch.float32)[None, None]
    )
    return _smoothed(lit.clamp_(0.0, 255.0)).round_()


def canny(levels: Tensor) -> Tensor:
    """Canny's edges of ``uint8 [B, 1, S, S]`` between the thresholds 50 and 150, boolean, as OpenCV finds them."""
    values = extended(levels.to(torch.int32), 1, "nearest")
    top, middle, bottom = values[..., :-2, :], values[..., 1:-1, :], values[..., 2:, :]
    column = top + 2 * middle + bottom
    across = column[..., 2:] - column[..., :-2]
    row = bottom - top
    down = row[..., :-2] + 2 * row[..., 1:-1] + row[..., 2:]
    size_across, size_down = across.abs(), down.abs()
    strength = size_across + size_down
    around = F.pad(strength, (1, 1, 1, 1))
    edge = levels.shape[-1]

    def beside(below: int, right: int) -> Tensor:
        return around[..., 1 + below : 1 + below + edge, 1 + right : 1 + right + edge]

    flat = size_across * _TAN_22
    steep = flat + (size_across << (_TAN_BITS + 1))
    height = size_down << _TAN_BITS
    falling = (across ^ down) < 0
    ridge = torch.where(
        height < flat,
        (strength > beside(0, -1)) & (strength >= beside(0, 1)),
        torch.where(
            height > steep,
            (strength > beside(-1, 0)) & (strength >= beside(1, 0)),
            torch.where(
                falling,
                (strength > beside(-1, 1)) & (strength > beside(1, -1)),
                (strength > beside(-1, -1)) & (strength > beside(1, 1)),
            ),
        ),
    )
    return _connected(ridge & (strength > _STRONG), ridge & (strength > _WEAK))


def _connected(strong: Tensor, weak: Tensor) -> Tensor:
    """Those of ``weak`` that touch ``strong``, over others of ``weak``, at a side or a corner."""
    found = strong
    while True:
        grown = (F.max_pool2d(found.to(torch.float32), 3, stride=1, padding=1) > 0) & weak
        if torch.equal(grown, found):
            return found
        found = grown


def _distances(edges: Tensor) -> Tensor:
    """How far each pixel is from an edge, at most 20: float32, by steps of 1, 1.4 and a knight's 2.1969."""
    size = edges.shape[-1]
    distance = torch.where(edges, 0.0, _FARTHEST)
    while True:
        around = F.pad(distance, (2, 2, 2, 2), value=_FARTHEST)
        nearer = distance
        for below, right, length in _MOVES:
            for sign in (1, -1):
                top, left = 2 + sign * below, 2 + sign * right
                nearer = nearer.minimum(around[..., top : top + size, left : left + size] + length)
        if torch.equal(nearer, distance):
            return distance
        distance = nearer


def _smoothed(values: Tensor) -> Tensor:
    """Means of 3 by 3 pixels; edges are mirrored."""
    return F.avg_pool2d(extended(values, 1, "mirror"), 3, stride=1)


def _equalized(levels: Tensor) -> Tensor:
    """Whole levels, float32 ``[B, 1, S, S]``, with a flat histogram, as OpenCV's ``equalizeHist``."""
    flat = levels.flatten(1).to(torch.int64)
    counts = flat.new_zeros(len(flat), 256).scatter_add_(1, flat, torch.ones_like(flat))
    darkest = flat.amin(dim=1, keepdim=True)
    least = counts.gather(1, darkest)
    rest = flat.shape[1] - least
    table = (counts.cumsum(1) - least).to(torch.float32).mul_(255.0 / rest.clamp(min=1)).round_()
    table = torch.where(rest > 0, table, torch.arange(256, device=levels.device, dtype=torch.float32))
    return table.gather(1, flat).view_as(levels)
