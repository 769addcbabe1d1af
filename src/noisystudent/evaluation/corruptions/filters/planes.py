"""Image planes as channels of one image, in groups of sixteen, so that a CPU processes a group as one vector.

Convolutions and enlargements plane by plane are ten times slower. With groups padded to sixteen, the computation is
the same for any number of images.
"""

from __future__ import annotations

import torch
from torch import Size, Tensor
from torch.nn import functional as F

PLANES_PER_GROUP = 16


def as_channels(values: Tensor) -> Tensor:
    """``values`` ``[B, C, S, S]`` as ``[1, P, S, S]``, channels last in memory; P is the next multiple of 16."""
    planes = values.flatten(0, 1)
    padded = F.pad(planes, (0, 0, 0, 0, 0, -len(planes) % PLANES_PER_GROUP))
    return padded[None].contiguous(memory_format=torch.channels_last)


def from_channels(values: Tensor, shape: Size) -> Tensor:
    """The inverse of ``as_channels``: ``[1, P, S, S]`` as images of ``shape`` ``[B, C, S, S]``."""
    return values[0, : shape[0] * shape[1]].contiguous().view(shape)


def correlate(values: Tensor, kernels: Tensor) -> Tensor:
    """Correlates each plane p of ``values`` ``[K, P, H, W]`` with ``kernels[p]`` ``[P, R, T]``; 16 divides P."""
    groups = zip(torch.split(values, PLANES_PER_GROUP, dim=1), torch.split(kernels, PLANES_PER_GROUP), strict=True)
    return torch.cat([F.conv2d(planes, weights[:, None], groups=len(weights)) for planes, weights in groups], dim=1)
