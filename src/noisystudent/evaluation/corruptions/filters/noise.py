"""The noise corruptions: every value of an image changes independently.

Every function takes ``uint8 [B, C, S, S]``, the images' random numbers and the parameters of one severity, in the
order of the published tables, and returns a new tensor of the same shape. The one value of a gray pixel changes as
each of the three values of a color pixel does: the mean of three noisy channels would be less noisy.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.special import pdtr
from torch import Tensor

from noisystudent.evaluation.corruptions.filters.levels import truncate_to_uint8
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields
from noisystudent.evaluation.corruptions.tables import SEVERITIES

_LEVELS = 256
_BUCKETS = 1 << 10


def gaussian_noise(pixels: Tensor, fields: RandomFields, sigma: float) -> Tensor:
    """Adds normal noise of standard deviation ``sigma``, as a fraction of 255, to every value."""
    return truncate_to_uint8(fields.normal(*pixels.shape[1:]).mul_(255.0 * sigma).add_(pixels))


def speckle_noise(pixels: Tensor, fields: RandomFields, sigma: float) -> Tensor:
    """Multiplies every value by one plus normal noise of standard deviation ``sigma``."""
    return truncate_to_uint8(fields.normal(*pixels.shape[1:]).mul_(sigma).add_(1.0).mul_(pixels))


def impulse_noise(pixels: Tensor, fields: RandomFields, fraction: float) -> Tensor:
    """Sets a random ``fraction`` of all values to 0 or 255 with equal probability (salt-and-pepper noise)."""
    drawn = fields.uniform(*pixels.shape[1:])
    # Byte masks: torch.where on bytes is several times slower.
    pepper = (drawn >= fraction / 2).to(torch.uint8).mul_(255)
    hit = (drawn < fraction).to(torch.uint8).mul_(255)
    return (pixels & ~hit) | (hit & ~pepper)


def shot_noise(pixels: Tensor, fields: RandomFields, photons: float) -> Tensor:
    """Replaces every value by a Poisson count of photons.

    A value of v / 255 has the expected count ``photons`` * v / 255; the count divided by ``photons``, at most 1, is
    the new value. A uniform number is looked up in the distribution of its level, one of 256, exactly and independently
    of the batch.
    """
    guide, distribution = _shot_distributions(photons, pixels.device)
    drawn = fields.uniform(*pixels.shape[1:]).flatten()
    levels = pixels.flatten().to(torch.int64)
    new_levels = guide.take(levels * _BUCKETS + drawn.mul(_BUCKETS).to(torch.int64))
    undecided = (new_levels < 0).nonzero().squeeze(1)
    # float64 can represent the sum of a level and a draw of 24 bits.
    keys = levels[undecided].to(torch.float64) + drawn[undecided].to(torch.float64)
    positions = torch.searchsorted(distribution, keys, right=True)
    new_levels[undecided] = (positions - levels[undecided] * _LEVELS).to(torch.int16)
    return new_levels.to(torch.uint8).view_as(pixels)


@lru_cache(maxsize=len(SEVERITIES))
def _shot_distributions(photons: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """The distributions of new levels under shot noise: a lookup guide, and the distributions themselves.

    The distributions are float64, row after row: entry (v, w) is v plus the probability that v becomes w or less. A
    draw u for level v becomes the w at the position where v + u would be inserted. The guide holds that w, int16, for
    each of 1024 buckets of u, or -1 if the bucket contains more than one w.
    """
    counts = np.arange(photons + 1)
    reached = np.minimum(counts / photons, 1.0) * 255
    minimum_counts = np.searchsorted(np.trunc(reached), np.arange(1, _LEVELS))  # to reach each level from 1
    rates = np.arange(_LEVELS)[:, None] / 255 * photons
    below = pdtr(minimum_counts - 1, rates)
    probabilities = np.concatenate([below, np.ones((_LEVELS, 1))], axis=1)
    flat = (probabilities + np.arange(_LEVELS)[:, None]).ravel()
    edges = np.arange(_LEVELS)[:, None] + np.arange(_BUCKETS + 1) / _BUCKETS
    starts = np.arange(_LEVELS)[:, None] * _LEVELS
    first = np.searchsorted(flat, edges[:, :-1], side="right") - starts
    last = np.searchsorted(flat, edges[:, 1:], side="left") - starts
    guide = np.where(first == last, first, -1).astype(np.int16)
    return torch.from_numpy(guide.ravel()).to(device), torch.from_numpy(flat).to(device)
