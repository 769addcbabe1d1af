"""The corruptions of kind noise: every value of an image is changed by itself.

Every function takes ``uint8 [B, C, S, S]``, the images' random numbers and the parameters of a severity, in the
order of the published tables, and returns a new tensor of the same shape. In a gray image the one value of a pixel
is changed as each of the three of a color image is: three noisy channels brought together would be less noisy.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.special import pdtr
from torch import Tensor

from noisystudent.evaluation.corruptions.filters.levels import cut_off
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields
from noisystudent.evaluation.corruptions.tables import SEVERITIES

_LEVELS = 256
_BUCKETS = 1 << 10


def gaussian_noise(pixels: Tensor, fields: RandomFields, sigma: float) -> Tensor:
    """Add normal noise of standard deviation ``sigma``, as a fraction of the scale, to every value."""
    return cut_off(fields.normal(*pixels.shape[1:]).mul_(255.0 * sigma).add_(pixels))


def speckle_noise(pixels: Tensor, fields: RandomFields, sigma: float) -> Tensor:
    """Multiply every value by one plus normal noise of standard deviation ``sigma``."""
    return cut_off(fields.normal(*pixels.shape[1:]).mul_(sigma).add_(1.0).mul_(pixels))


def impulse_noise(pixels: Tensor, fields: RandomFields, share: float) -> Tensor:
    """Make ``share`` of the values, whatever their place, 0 or 255 with equal chance (salt and pepper)."""
    drawn = fields.uniform(*pixels.shape[1:])
    # Masks of bytes: torch.where on bytes is several times slower.
    pepper = (drawn >= share / 2).to(torch.uint8).mul_(255)
    hit = (drawn < share).to(torch.uint8).mul_(255)
    return (pixels & ~hit) | (hit & ~pepper)


def shot_noise(pixels: Tensor, fields: RandomFields, photons: float) -> Tensor:
    """Replace every value by what is counted of a mean of that share of ``photons`` (Poisson noise).

    The count over ``photons`` is the new value, at most 1. There are 256 distributions, one a level; a number is
    looked up in the one that the value asks for, exactly, whatever the size of the batch.
    """
    guide, distribution = _shot(photons, pixels.device)
    drawn = fields.uniform(*pixels.shape[1:]).flatten()
    levels = pixels.flatten().to(torch.int64)
    found = guide.take(levels * _BUCKETS + drawn.mul(_BUCKETS).to(torch.int64))
    open_ = (found < 0).nonzero().squeeze(1)
    # float64: a level and a draw of 24 bits are one number there.
    sought = levels[open_].to(torch.float64) + drawn[open_].to(torch.float64)
    places = torch.searchsorted(distribution, sought, right=True)
    found[open_] = (places - levels[open_] * _LEVELS).to(torch.int16)
    return found.to(torch.uint8).view_as(pixels)


@lru_cache(maxsize=len(SEVERITIES))
def _shot(photons: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """How a level becomes another under shot noise: a guide and the distributions themselves.

    The distributions are float64, row after row: entry (v, w) is v plus the chance that v becomes w or less. A draw u
    of level v becomes the w at whose place v + u belongs. The guide has that w as int16 for each of 1024 buckets of u,
    or -1 where the bucket holds more than one w.
    """
    counts = np.arange(photons + 1)
    reached = np.minimum(counts / photons, 1.0) * 255
    least = np.searchsorted(np.trunc(reached), np.arange(1, _LEVELS))  # the count from which on a level is exceeded
    rates = np.arange(_LEVELS)[:, None] / 255 * photons
    below = pdtr(least - 1, rates)
    chance = np.concatenate([below, np.ones((_LEVELS, 1))], axis=1)
    flat = (chance + np.arange(_LEVELS)[:, None]).ravel()
    edges = np.arange(_LEVELS)[:, None] + np.arange(_BUCKETS + 1) / _BUCKETS
    starts = np.arange(_LEVELS)[:, None] * _LEVELS
    first = np.searchsorted(flat, edges[:, :-1], side="right") - starts
    last = np.searchsorted(flat, edges[:, 1:], side="left") - starts
    guide = np.where(first == last, first, -1).astype(np.int16)
    return torch.from_numpy(guide.ravel()).to(device), torch.from_numpy(flat).to(device)
