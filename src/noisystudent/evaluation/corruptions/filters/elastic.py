"""Elastic transform: a random affine map, then a random smooth displacement of every pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from noisystudent.evaluation.corruptions.filters.edges import gaussian_blurred
from noisystudent.evaluation.corruptions.filters.levels import cut_off
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields

_POINTS = 6  # draws: two coordinates of three points


def elastic_transform(pixels: Tensor, fields: RandomFields, alpha: float, sigma: float, jitter: float) -> Tensor:
    """Move three points of the image by up to ``jitter`` pixels, then all by a smooth field.

    The field is uniform noise in -1 to 1, blurred by ``sigma`` pixels (three of them, edges reflected), times
    ``alpha``. Both steps read the image bilinearly, beyond its edges mirrored in the first and reflected in the
    second. The published code takes the first step with OpenCV, whose positions are rounded to a 32nd of a pixel; here
    they are not.
    """
    size = pixels.shape[-1]
    x, y = _affine_positions(fields.uniform(3, 2), size, jitter)
    # Positions of 0 to size - 1 are those of the middles of the pixels: about these the image is mirrored.
    grid = torch.stack((x, y), dim=-1).mul_(2.0 / (size - 1)).sub_(1.0)
    values = pixels.to(torch.float32)
    values = F.grid_sample(values, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
    if alpha > 0:
        noise = fields.uniform(2, size, size, first=_POINTS).mul_(2.0).sub_(1.0)
        field = gaussian_blurred(noise, sigma, truncate=3.0, edge="reflect") * alpha
        span = torch.arange(size, device=pixels.device, dtype=torch.float32)
        positions = torch.stack((field[:, 0] + span, field[:, 1] + span[:, None]), dim=-1)
        # The outer borders of the pixels are at -1 and 1: about these the image is reflected.
        grid = positions.mul_(2.0).add_(1.0).div_(size).sub_(1.0)
        values = F.grid_sample(values, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return cut_off(values)


def _affine_positions(drawn: Tensor, size: int, jitter: float) -> tuple[Tensor, Tensor]:
    """Where each pixel comes from, float32 x and y ``[B, S, S]``, when three points move as ``drawn`` ``[B, 3, 2]``.

    The points are corners of a square about the middle: at the bottom right, the top right and the top left.
    """
    middle, reach = size // 2, size // 3
    low, high = float(middle - reach), float(middle + reach)
    # float64, a few numbers an image: the map back is a quotient of differences.
    moved = drawn.to(torch.float64).mul(2 * jitter).sub(jitter)
    moved += moved.new_tensor([[high, high], [high, low], [low, low]])
    corner = moved[:, 1]
    down, left = (moved[:, 0] - corner).unbind(1), (moved[:, 2] - corner).unbind(1)
    determinant = down[0] * left[1] - down[1] * left[0]
    # In the basis of the moved edges a pixel is (s, t); in that of the edges before, it comes from the same (s, t).
    span = torch.arange(size, device=drawn.device, dtype=torch.float64)
    per_edge = 2.0 * reach / determinant[:, None]
    across, along = span - corner[:, :1], span - corner[:, 1:]  # each pixel's x and y from the corner
    s = across * (left[1][:, None] * per_edge), along * (-left[0][:, None] * per_edge)
    t = across * (-down[1][:, None] * per_edge), along * (down[0][:, None] * per_edge)
    x = (high - t[0]).to(torch.float32)[:, None, :] - t[1].to(torch.float32)[:, :, None]
    y = (low + s[0]).to(torch.float32)[:, None, :] + s[1].to(torch.float32)[:, :, None]
    return x, y
