"""RandAugment as Noisy Student used it: batched, on the device of the images, one draw an image.

Cubuk et al., 2020, with the operations and scales of ``policies``: the magnitude is the same for every image, each
layer draws one operation for each image with replacement. The published code applies it always.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from noisystudent.noise.grouping import change_groups, portion
from noisystudent.noise.pixels import choose
from noisystudent.noise.policies import POLICIES, PUBLISHED_DISTANCES, Distances
from noisystudent.noise.settings import LARGEST_MAGNITUDE, RandAugmentPolicy

# An operation's own chance: direction, then the row and column of a cutout. One more number chooses the
# operation.
_CHANCES = 3
_DRAWS_A_LAYER = 1 + _CHANCES


class RandAugment:
    """Random distortion of images by ``layers`` operations of ``magnitude`` (0 to 30), one draw an image.

    ``policy`` says how operations grow with the magnitude, ``operations`` which of them are drawn (all of the policy's
    when empty; a name given twice is drawn twice as often). ``distances`` are meant for images of the edge
    ``pixel_reference``; 0 takes them as they are.
    """

    def __init__(
        self,
        *,
        layers: int,
        magnitude: float,
        policy: RandAugmentPolicy = "paper",
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
    def rng(self) -> int:
        """How many uniform numbers an image needs."""
        return self.layers * _DRAWS_A_LAYER

    def __call__(self, pixels: Tensor, uniforms: Tensor) -> Tensor:
        """Distorted copies of ``pixels`` (``uint8 [B, C, H, W]``) by ``uniforms`` (``[B, rng]`` in [0, 1)).

        Uniforms on the CPU let the images be grouped by operation without waiting for an accelerator.
        """
        distorted = torch.empty_like(pixels)
        most = portion(pixels)
        rng = uniforms.view(len(uniforms), self.layers, _DRAWS_A_LAYER)
        portions = (torch.split(each, most) for each in (distorted, pixels, rng))
        for into, some, layers in zip(*portions, strict=True):
            for layer in layers.unbind(1):
                some = self._distorted(some, layer)
            into.copy_(some)
        return distorted

    def _distorted(self, pixels: Tensor, layer: Tensor) -> Tensor:
        """One layer: each image changed by the operation that it drew."""
        scale = min(pixels.shape[-2:]) / self.pixel_reference if self.pixel_reference else 1.0
        distances = self.distances.scaled(scale)

        def change(operation: int, some: Tensor, chances: Tensor) -> Tensor:
            return self._policy.apply(self.operations[operation], some, self.magnitude, chances, distances)

        place = layer[:, 0] * len(self.operations)
        operation = place.to(torch.int64)
        distorted = change_groups(pixels, operation, len(self.operations), layer[:, 1:], change)
        if self._policy.probability == 1.0:
            return distorted
        # What the draw of the operation leaves over is a uniform number of its own.
        return choose(place - operation < self._policy.probability, distorted, pixels)
