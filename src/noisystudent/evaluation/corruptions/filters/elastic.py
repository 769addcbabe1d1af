"""The elastic transform: a random affine map, then a random smooth displacement of every pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from noisystudent.evaluation.corruptions.filters.edges import gaussian_filter
from noisystudent.evaluation.corruptions.filters.levels import truncate_to_uint8
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields

_AFFINE_DRAWS = 6  # two coordinates of three points


def elastic_transform(pixels: Tensor, fields: RandomFields, alpha: float, sigma: float, jitter: float) -> Tensor:
    """Applies a random affine map, then a random smooth displacement.

    The map moves three points by up to ``jitter`` pixels. The displacement is uniform noise from -1 to 1, blurred with
    ``sigma`` pixels (truncated at 3 ``sigma``, edges reflected), times ``alpha``. Both steps interpolate bilinearly;
    beyond its edges the image is mirrored in the first step and reflected in the second. OpenCV, which the published
    code uses for the first step, rounds positions to 1/32 of a pixel; this function does not.
    """
    size = pixels.shape[-1]
    x, y = _affine_positions(fields.uniform(3, 2), size, jitter)
    # Positions 0 to size - 1 are pixel centers: the image is mirrored about the outer ones.
    grid = torch.stack((x, y), dim=-1).mul_(2.0 / (size - 1)).sub_(1.0)
    values = pixels.to(torch.float32)
    values = F.grid_sample(values, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
    if alpha > 0:
        noise = fields.uniform(2, size, size, first=_AFFINE_DRAWS).mul_(2.0).sub_(1.0)
        field = gaussian_filter(noise, sigma, truncate=3.0, edge="reflect") * alpha
        span = torch.arange(size, device=pixels.device, dtype=torch.float32)
        positions = torch.stack((field[:, 0] + span, field[:, 1] + span[:, None]), dim=-1)
        # The outer borders of the pixels are at -1 and 1: the image is reflected about these.
        grid = positions.mul_(2.0).add_(1.0).div_(size).sub_(1.0)
        values = F.grid_sample(values, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return truncate_to_uint8(values)


def _affine_positions(drawn: Tensor, size: int, jitter: float) -> tuple[Tensor, Tensor]:
    """The source of each pixel, float32 x and y ``[B, S, S]``, if three points move by ``drawn`` ``[B, 3, 2]``.

    The points are three corners of a square around the center: bottom right, top right and top left. ``drawn`` holds
    uniform numbers in [0, 1).
    """
    center, reach = size // 2, size // 3
    low, high = float(center - reach), float(center + reach)
    # float64, a few numbers per image: the inverse map is a quotient of differences.
    moved = drawn.to(torch.float64).mul(2 * jitter).sub(jitter)
    moved += moved.new_tensor([[high, high], [high, low], [low, low]])
    corner = moved[:, 1]
    down, left = (moved[:, 0] - corner).unbind(1), (moved[:, 2] - corner).unbind(1)
    determinant = down[0] * left[1] - down[1] * left[0]
    # A pixel has coordinates (s, t) in the basis of the moved edges; its source has the same in the original basis.
    span = torch.arange(size, device=drawn.device, dtype=torch.float64)
    per_edge = 2.0 * reach / determinant[:, None]
    across, along = span - corner[:, :1], span - corner[:, 1:]  # x and y of each pixel, relative to the corner
    s = across * (left[1][:, None] * per_edge), along * (-left[0][:, None] * per_edge)
    t = across * (-down[1][:, None] * per_edge), along * (down[0][:, None] * per_edge)
    x = (high - t[0]).to(torch.float32)[:, None, :] - t[1].to(torch.float32)[:, :, None]
    y = (low + s[0]).to(torch.float32)[:, None, :] + s[1].to(torch.float32)[:, :, None]
    return x, y
