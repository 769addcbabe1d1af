"""The random numbers of a corruption, as fields; those of an image depend only on its index."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noisystudent.noise.counter_rng import CounterRng

_BLOCK = 1 << 15  # numbers whose int64 words fit in a CPU's cache, which is three times as fast


class RandomFields:
    """The random numbers of one corruption at one severity for a batch of images.

    The numbers of an image form one sequence; ``first`` is the position in it where a field begins.

    Args:
        rng: the random numbers of the corruption and severity.
        index: the number that addresses each image's sequence, int64 ``[B]``.
    """

    def __init__(self, rng: CounterRng, index: Tensor) -> None:
        self._rng = rng
        self._index = index

    def uniform(self, *shape: int, first: int = 0) -> Tensor:
        """Uniform float32 numbers in [0, 1), multiples of 2^-24, ``[B, *shape]``, on the device of the index."""
        count, epoch = math.prod(shape), torch.zeros_like(self._index)
        block = max(1, _BLOCK // max(1, len(self._index))) if self._index.device.type == "cpu" else count
        starts = range(0, count, max(1, block))
        parts = [
            self._rng.uniform(epoch, self._index, min(block, count - start), first=first + start) for start in starts
        ]
        return torch.cat(parts, dim=1).view(len(self._index), *shape)

    def normal(self, *shape: int, first: int = 0) -> Tensor:
        """Standard normal float32 numbers, ``[B, *shape]``, from one uniform number each by the quantile function.

        The uniform numbers are moved to the center of their interval, so 0 and 1 do not occur: the largest magnitude
        is 5.4.
        """
        centered = self.uniform(*shape, first=first).mul_(2.0).sub_(1.0 - 2.0**-24)
        return centered.erfinv_().mul_(math.sqrt(2.0))
