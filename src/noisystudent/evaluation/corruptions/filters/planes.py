"""Planes of images as the channels of one, sixteen at a time: so torch works on all of them in one vector on a CPU.

Convolutions and enlargements of planes one by one are ten times slower. Filled up to sixteen they are always the same
computation, whatever the number of images.
"""

from __future__ import annotations

import torch
from torch import Size, Tensor
from torch.nn import functional as F

AT_ONCE = 16


def as_channels(values: Tensor) -> Tensor:
    """``values`` ``[B, C, S, S]`` as ``[1, P, S, S]``, channels last in memory, P the next multiple of 16."""
    planes = values.flatten(0, 1)
    filled = F.pad(planes, (0, 0, 0, 0, 0, -len(planes) % AT_ONCE))
    return filled[None].contiguous(memory_format=torch.channels_last)


def from_channels(values: Tensor, shape: Size) -> Tensor:
    """What ``as_channels`` made, changed and ``[1, P, S, S]``, as images of ``shape`` ``[B, C, S, S]``."""
    return values[0, : shape[0] * shape[1]].contiguous().view(shape)


def convolved(values: Tensor, kernels: Tensor) -> Tensor:
    """``[K, P, H, W]``, P in sixteens, each plane p correlated with ``kernels[p]`` (``[P, R, T]``)."""
    parts = zip(torch.split(values, AT_ONCE, dim=1), torch.split(kernels, AT_ONCE), strict=True)
    return torch.cat([F.conv2d(some, own[:, None], groups=len(own)) for some, own in parts], dim=1)
