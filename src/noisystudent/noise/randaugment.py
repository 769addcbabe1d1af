"""RandAugment as Noisy Student used it: batched, on the device of the pictures, one draw a picture.

Cubuk et al., 2020, with the operations and scales of ``policies``: the magnitude is the same for every picture, each
layer draws one operation for each picture with replacement. The published code applies it always.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from noisystudent.noise.pixels import choose
from noisystudent.noise.policies import POLICIES, PUBLISHED_DISTANCES, Distances
from noisystudent.noise.settings import LARGEST_MAGNITUDE, PolicyName

# An operation's own chance: direction, then the row and column of a cutout. One more number chooses the
# operation.
_CHANCES = 3
_CACHED_FLOATS = 1 << 18  # 1 MiB: operations make a few float copies, and those of 128 pictures of 224 px fit no cache
_GROUPED_BYTES = 1 << 21  # sorting copies the pictures, and fresh memory for 128 of 224 px costs more than the noise
_DRAWS_A_LAYER = 1 + _CHANCES


class RandAugment:
    """Random distortion of pictures by ``layers`` operations of ``magnitude`` (0 to 30), one draw a picture.

    ``policy`` says how operations grow with the magnitude, ``operations`` which of them are drawn (all of the policy's
    when empty; a name given twice is drawn twice as often). ``distances`` are meant for pictures of the edge
    ``pixel_reference``; 0 takes them as they are.
    """

    def __init__(
        self,
        *,
        layers: int,
        magnitude: float,
        policy: PolicyName = "paper",
        operations: Sequence[str] = (),
        distances: Distances = PUBLISHED_DISTANCES,
        pixel_reference: int = 224,
    ) -> None:
        assert 0.0 <= magnitude <= LARGEST_MAGNITUDE, magnitude
        self.layers = layers
        self.magnitude = magnitude
        self.distances = distances
        self.pixel_reference = pixel_reference
        self._policy = POLICIES[policy]
        self.operations = tuple(operations) or self._policy.operations

    @property
    def draws(self) -> int:
        """How many uniform numbers a picture needs."""
        return self.layers * _DRAWS_A_LAYER

    def __call__(self, pixels: Tensor, uniforms: Tensor) -> Tensor:
        """Distorted copies of ``pixels`` (``uint8 [B, C, H, W]``) by ``uniforms`` (``[B, draws]`` in [0, 1)).

        Uniforms on the CPU let the pictures be grouped by operation without waiting for an accelerator.
        """
        distorted = torch.empty_like(pixels)
        most = _pictures_within(_GROUPED_BYTES, pixels) if pixels.device.type == "cpu" else max(1, len(pixels))
        draws = uniforms.view(len(uniforms), self.layers, _DRAWS_A_LAYER)
        parts = (torch.split(each, most) for each in (distorted, pixels, draws))
        for into, some, layers in zip(*parts, strict=True):
            for layer in layers.unbind(1):
                some = self._distorted(some, layer)
            into.copy_(some)
        return distorted

    def _distorted(self, pixels: Tensor, layer: Tensor) -> Tensor:
        """One layer: the pictures sorted by operation, each run of them changed at once, and sorted back."""
        place = layer[:, 0] * len(self.operations)
        operation = place.to(torch.int64)
        order = operation.argsort(stable=True)
        counts = torch.bincount(operation, minlength=len(self.operations)).tolist()
        sorted_pixels = pixels.index_select(0, order.to(pixels.device))
        sorted_chances = layer.index_select(0, order)[:, 1:]
        most = _pictures_at_once(pixels)
        scale = min(pixels.shape[-2:]) / self.pixel_reference if self.pixel_reference else 1.0
        distances = self.distances.scaled(scale)
        changed = [
            self._policy.apply(name, some, self.magnitude, chances, distances)
            for name, run, run_chances in zip(
                self.operations,
                torch.split_with_sizes(sorted_pixels, counts),
                torch.split_with_sizes(sorted_chances, counts),
                strict=True,
            )
            if len(run)
            for some, chances in zip(torch.split(run, most), torch.split(run_chances, most), strict=True)
        ]
        distorted = torch.cat(changed).index_select(0, order.argsort().to(pixels.device))
        if self._policy.probability == 1.0:
            return distorted
        # What the draw of the operation leaves over is a uniform number of its own.
        return choose(place - operation < self._policy.probability, distorted, pixels)


def _pictures_at_once(pixels: Tensor) -> int:
    """How many pictures an operation takes at once: on a CPU as many as stay in its cache as float32.

    An accelerator is kept busy by more: a quarter of the batch, which few groups exceed. It bounds the memory: a few
    float copies of all pictures, if all draw the same operation, would be too much beside the batch and its result.
    """
    if pixels.device.type == "cpu":
        return _pictures_within(_CACHED_FLOATS, pixels)
    return math.ceil(len(pixels) / 4)


def _pictures_within(numbers: int, pixels: Tensor) -> int:
    """How many of the ``pixels``' pictures have at most so many ``numbers``, at least one."""
    return max(1, numbers // pixels.shape[1:].numel())
