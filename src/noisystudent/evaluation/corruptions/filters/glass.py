"""Glass blur: a blur, pixels that take the place of others nearby, a blur."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from noisystudent.evaluation.corruptions.filters.edges import gaussian_blurred
from noisystudent.evaluation.corruptions.filters.levels import cut_off
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields


def glass_blur(pixels: Tensor, fields: RandomFields, sigma: float, reach: float, passes: float) -> Tensor:
    """Blur by ``sigma``, shuffle within ``reach`` pixels in ``passes`` passes, blur by ``sigma`` again.

    The published code means to swap two pixels and copies one over the other instead; so do the published images,
    and so does this.
    """
    smooth = cut_off(gaussian_blurred(pixels.to(torch.float32), sigma, truncate=4.0, edge="nearest"))
    size, reach = pixels.shape[-1], int(reach)
    edge = max(0, size - 2 * reach)  # the pixels that have room for a shift
    sources = torch.arange(size * size, device=pixels.device).expand(len(pixels), -1)
    for number in range(int(passes) if edge else 0):
        drawn = fields.uniform(edge, edge, first=number * edge * edge)
        # What a pass puts somewhere is what the passes before it had put at its source.
        sources = sources.gather(1, _pass(drawn, size, reach))
    shuffled = smooth.flatten(2).gather(2, sources[:, None].expand(-1, pixels.shape[1], -1)).view_as(pixels)
    return cut_off(gaussian_blurred(shuffled.to(torch.float32), sigma, truncate=4.0, edge="nearest"))


def _pass(drawn: Tensor, size: int, reach: int) -> Tensor:
    """From which pixel of the image before it each pixel of a pass comes, int64 ``[B, S * S]``.

    The pass goes from the last pixel to the first, and each takes the value that stands ``reach`` pixels or fewer
    away at that moment: that of before the pass, or, where the pass has been, what it left there. So each pixel points
    at another, those that come later in the image point on, and following all pointers at once, twice as far each
    time, ends at the sources. ``drawn`` ``[B, S - 2 reach, S - 2 reach]`` holds a pixel's two shifts, each a whole
    number from -reach to reach - 1, in one number; the first of them belongs to the first pixel visited.
    """
    count, (here, steps, inside) = size * size, _places(size, reach, drawn.device)
    # float64 has room for a draw of 24 bits times the number of steps.
    step = steps.take(drawn.flip(1, 2).flatten(1).to(torch.float64).mul_(len(steps)).to(torch.int64))
    target = step + here
    # From count on a number means a pixel of the image before the pass, and points at itself.
    target += (inside.take(target) & (step > 0)).logical_not_().to(torch.int64).mul_(count)
    pointers = torch.arange(count, 3 * count, device=drawn.device).repeat(len(drawn), 1)
    pointers[:, count:] -= count
    visited = slice(reach + 1, size - reach + 1)
    pointers[:, :count].view(-1, size, size)[:, visited, visited] = target.view_as(drawn)
    while int(pointers[:, :count].amin()) < count:
        pointers[:, :count] = pointers.gather(1, pointers[:, :count])
    return pointers[:, :count] - count


@lru_cache(maxsize=8)
def _places(size: int, reach: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels that a pass visits, all its steps, and for every pixel whether it is visited.

    Pixels and steps are flat indices into an image, int64; steps are those of -reach to reach - 1 down and right.
    """
    rows = torch.arange(reach + 1, size - reach + 1)
    steps = torch.arange(-reach, reach)
    here = (rows[:, None] * size + rows).flatten()
    inside = torch.zeros(size * size, dtype=torch.bool)
    inside[here] = True
    return here.to(device), (steps[:, None] * size + steps).flatten().to(device), inside.to(device)
