"""RandAugment as used by Noisy Student, in batches on the device of the images, drawn independently per image.

Cubuk et al., 2020, with the operations and scales of ``policies``. All images have the same magnitude. Every layer
draws one operation per image, with replacement; the published code always applies it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from noisystudent.noise.grouping import change_groups, portion_size
from noisystudent.noise.pixels import choose
from noisystudent.noise.policies import POLICIES, PUBLISHED_DISTANCES, Distances
from noisystudent.noise.settings import LARGEST_MAGNITUDE, RandAugmentPolicy

_LAYER_DRAWS = 4  # the operation, its direction, row and column of a cutout


class RandAugment:
    """Random distortion of images by several operations, drawn independently per image.

    Args:
        layers: number of operations per image.
        magnitude: 0 to 30, the same for all images.
        policy: name of the policy, which defines how operations grow with the magnitude.
        operations: names of the operations to draw from; empty: all of the policy's; a name given twice is drawn twice
            as often.
        distances: distances in pixels for images of the edge ``pixel_reference``.
        pixel_reference: edge in pixels; 0 uses ``distances`` unscaled.
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
    def draws(self) -> int:
        """Number of uniform numbers that an image needs."""
        return self.layers * _LAYER_DRAWS

    def __call__(self, pixels: Tensor, uniforms: Tensor) -> Tensor:
        """Returns distorted copies of ``pixels``, uint8 [B, C, H, W].

        Args:
            pixels: images, uint8 [B, C, H, W].
            uniforms: the random numbers, float32 [B, draws] in [0, 1); on the CPU, so that images can be grouped by
                operation without waiting for an accelerator.
        """
        distorted = torch.empty_like(pixels)
        size = portion_size(pixels)
        layers = uniforms.view(len(uniforms), self.layers, _LAYER_DRAWS)
        portions = (torch.split(tensor, size) for tensor in (distorted, pixels, layers))
        for target, portion, portion_layers in zip(*portions, strict=True):
            for layer in portion_layers.unbind(1):
                portion = self._apply_layer(portion, layer)
            target.copy_(portion)
        return distorted

    def _apply_layer(self, pixels: Tensor, layer: Tensor) -> Tensor:
        """Changes every image by the operation that it drew."""
        scale = min(pixels.shape[-2:]) / self.pixel_reference if self.pixel_reference else 1.0
        distances = self.distances.scaled(scale)

        def change(operation: int, group: Tensor, uniforms: Tensor) -> Tensor:
            return self._policy.apply(self.operations[operation], group, self.magnitude, uniforms, distances)

        draw = layer[:, 0] * len(self.operations)
        operation = draw.to(torch.int64)
        distorted = change_groups(pixels, operation, len(self.operations), layer[:, 1:], change)
        if self._policy.probability == 1.0:
            return distorted
        # The fraction of the operation's draw is a uniform number again, independent of the operation.
        return choose(draw - operation < self._policy.probability, distorted, pixels)
