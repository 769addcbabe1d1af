"""Glass blur: a blur, a shuffle of nearby pixels, and a blur again."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from noisystudent.evaluation.corruptions.filters.edges import gaussian_filter
from noisystudent.evaluation.corruptions.filters.levels import truncate_to_uint8
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields


def glass_blur(pixels: Tensor, fields: RandomFields, sigma: float, reach: float, passes: float) -> Tensor:
    """Blurs with ``sigma``, shuffles pixels within ``reach`` in ``passes`` passes, and blurs with ``sigma`` again.

    The published code is meant to swap two pixels but copies one over the other. The published images were generated
    with that code, so this function copies as well.
    """
    smooth = truncate_to_uint8(gaussian_filter(pixels.to(torch.float32), sigma, truncate=4.0, edge="nearest"))
    size, reach = pixels.shape[-1], int(reach)
    edge = max(0, size - 2 * reach)  # pixels per axis with room for a shift
    sources = torch.arange(size * size, device=pixels.device).expand(len(pixels), -1)
    for number in range(int(passes) if edge else 0):
        drawn = fields.uniform(edge, edge, first=number * edge * edge)
        # A pass copies what earlier passes copied to its source.
        sources = sources.gather(1, _pass_sources(drawn, size, reach))
    shuffled = smooth.flatten(2).gather(2, sources[:, None].expand(-1, pixels.shape[1], -1)).view_as(pixels)
    return truncate_to_uint8(gaussian_filter(shuffled.to(torch.float32), sigma, truncate=4.0, edge="nearest"))


def _pass_sources(drawn: Tensor, size: int, reach: int) -> Tensor:
    """For each pixel after one pass, the pixel before the pass that it comes from, int64 ``[B, S * S]``.

    The pass visits pixels from last to first. Each takes the current value of a pixel at most ``reach`` away: the value
    from before the pass, or what the pass left there if it has already visited that pixel. So each pixel points at
    another one, and following all pointers at once, twice as far each time, ends at the sources. ``drawn``
    ``[B, S - 2 reach, S - 2 reach]`` holds one uniform number per visited pixel, in the order of the visits. It encodes
    two shifts, whole numbers from -reach to reach - 1.
    """
    count, (here, steps, inside) = size * size, _visited_pixels(size, reach, drawn.device)
    # float64 can represent a draw of 24 bits times the number of steps.
    step = steps.take(drawn.flip(1, 2).flatten(1).to(torch.float64).mul_(len(steps)).to(torch.int64))
    target = step + here
    # A number of count or more means a pixel of the image before the pass, which points at itself.
    target += (inside.take(target) & (step > 0)).logical_not_().to(torch.int64).mul_(count)
    pointers = torch.arange(count, 3 * count, device=drawn.device).repeat(len(drawn), 1)
    pointers[:, count:] -= count
    visited = slice(reach + 1, size - reach + 1)
    pointers[:, :count].view(-1, size, size)[:, visited, visited] = target.view_as(drawn)
    while int(pointers[:, :count].amin()) < count:
        pointers[:, :count] = pointers.gather(1, pointers[:, :count])
    return pointers[:, :count] - count


@lru_cache(maxsize=8)
def _visited_pixels(size: int, reach: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels that a pass visits, all possible steps, and a mask of the visited pixels.

    Pixels and steps are flat indices into an image, int64. Steps go from -reach to reach - 1, down and right.
    """
    rows = torch.arange(reach + 1, size - reach + 1)
    steps = torch.arange(-reach, reach)
    here = (rows[:, None] * size + rows).flatten()
    inside = torch.zeros(size * size, dtype=torch.bool)
    inside[here] = True
    return here.to(device), (steps[:, None] * size + steps).flatten().to(device), inside.to(device)
