"""The random numbers of a corruption: fields of them, each image's a function of its address alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noisystudent.noise.counter_rng import CounterRng

_AT_ONCE = 1 << 15  # numbers: their int64 words stay in a CPU's kept, which makes them three times as fast


class RandomFields:
    """The numbers of one corruption at one severity for some images, which ``index``, int64 ``[B]``, addresses.

    An image's numbers form one sequence; ``first`` is the place in it where a field begins.
    """

    def __init__(self, rng: CounterRng, index: Tensor) -> None:
        self._draws = rng
        self._index = index

    def uniform(self, *shape: int, first: int = 0) -> Tensor:
        """Uniform float32 numbers in [0, 1), multiples of 2^-24, ``[B, *shape]`` on the index's device."""
        count, epoch = math.prod(shape), torch.zeros_like(self._index)
        block = max(1, _AT_ONCE // max(1, len(self._index))) if self._index.device.type == "cpu" else count
        starts = range(0, count, max(1, block))
        parts = [
            self._draws.uniform(epoch, self._index, min(block, count - start), first=first + start) for start in starts
        ]
        return torch.cat(parts, dim=1).view(len(self._index), *shape)

    def normal(self, *shape: int, first: int = 0) -> Tensor:
        """Standard normal float32 numbers, ``[B, *shape]``: one uniform number each, through the quantile function.

        The uniform numbers are moved to the middle of their interval, so that neither 0 nor 1 occurs: the largest
        magnitude is 5.4.
        """
        centered = self.uniform(*shape, first=first).mul_(2.0).sub_(1.0 - 2.0**-24)
        return centered.erfinv_().mul_(math.sqrt(2.0))
