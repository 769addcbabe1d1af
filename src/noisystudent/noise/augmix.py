"""AugMix, an alternative to RandAugment: several short chains of operations, blended with the original image.

Hendrycks et al., 2020: 3 chains of 1 to 3 operations, averaged with weights from Dirichlet(1, 1, 1); the average is
blended with the image by a share from Beta(1, 1). Every operation draws its level, up to the magnitude. The operations
are those that do not resemble a corruption of ImageNet-C.

Differences from the paper: a level is one of ten equal steps up to the magnitude, not a real number, so that images can
be changed in groups; geometric operations use the nearest neighbor and fill with gray, as everywhere in this package;
the blend is rounded to whole gray levels. The consistency loss of the paper is not part of the noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from noisystudent.noise import color, geometric
from noisystudent.noise.grouping import change_groups, portion_size
from noisystudent.noise.pixels import to_bytes
from noisystudent.noise.settings import AUGMIX_OPERATIONS

CHAINS = 3
LEVELS = 10
LARGEST_LEVEL = 10.0

_OPERATION_DRAWS = 3  # the operation, its level, its direction
_BLEND_DRAWS = 1 + CHAINS  # the share of the chains, the weights of the chains


class AugMix:
    """Random blends of images with chains of operations, drawn for every image.

    Args:
        depth: largest number of operations of a chain; the paper uses 3.
        magnitude: largest level of an operation, 0 to 10; the paper uses 3 for small images and 1 for ImageNet.
        operations: names of the operations to draw from; empty: all of AugMix's.
    """

    def __init__(self, *, depth: int, magnitude: float, operations: tuple[str, ...] = ()) -> None:
        assert 0.0 <= magnitude <= LARGEST_LEVEL, magnitude
        self.depth = depth
        self.magnitude = magnitude
        self.operations = operations or AUGMIX_OPERATIONS

    @property
    def draws(self) -> int:
        """Number of uniform numbers that an image needs."""
        return _BLEND_DRAWS + CHAINS * (1 + self.depth * _OPERATION_DRAWS)

    def __call__(self, pixels: Tensor, uniforms: Tensor) -> Tensor:
        """Returns blends of ``pixels``, uint8 [B, C, H, W].

        Args:
            pixels: images, uint8 [B, C, H, W].
            uniforms: the random numbers, float32 [B, draws] in [0, 1), on the CPU.
        """
        size = portion_size(pixels)
        portions = zip(torch.split(pixels, size), torch.split(uniforms, size), strict=True)
        return torch.cat([self._blend(*portion) for portion in portions])

    def _blend(self, pixels: Tensor, uniforms: Tensor) -> Tensor:
        share, weights = uniforms[:, 0], dirichlet(uniforms[:, 1:_BLEND_DRAWS])
        chains = uniforms[:, _BLEND_DRAWS:].view(len(uniforms), CHAINS, 1 + self.depth * _OPERATION_DRAWS)
        blend = pixels.to(torch.float32).mul_(_per_image(1.0 - share, pixels))
        for weight, chain in zip(weights.unbind(1), chains.unbind(1), strict=True):
            blend += self._apply_chain(pixels, chain).to(torch.float32).mul_(_per_image(share * weight, pixels))
        return to_bytes(blend.add_(0.5))

    def _apply_chain(self, pixels: Tensor, uniforms: Tensor) -> Tensor:
        """Applies 1 to ``depth`` operations to every image, one after another."""
        depth = (uniforms[:, 0] * self.depth).to(torch.int64) + 1
        no_operation = len(self.operations) * LEVELS
        operations = uniforms[:, 1:].view(len(uniforms), self.depth, _OPERATION_DRAWS)
        for position, operation in enumerate(operations.unbind(1)):
            index = (operation[:, 0] * len(self.operations)).to(torch.int64)
            level = (operation[:, 1] * LEVELS).to(torch.int64)
            group = torch.where(position < depth, index * LEVELS + level, no_operation)
            pixels = change_groups(pixels, group, no_operation + 1, operation[:, 2:], self._change_group)
        return pixels

    def _change_group(self, group: int, pixels: Tensor, uniforms: Tensor) -> Tensor:
        index, level = divmod(group, LEVELS)
        if index == len(self.operations):
            return pixels
        return apply_augmix(self.operations[index], pixels, self.magnitude * (level + 1) / LEVELS, uniforms[:, 0] < 0.5)


def apply_augmix(name: str, pixels: Tensor, level: float, mirrored: Tensor) -> Tensor:
    """Applies an operation of AugMix at a level of AugMix's scales.

    At level 10, a rotation is 30 degrees, a solarize threshold 0, a shear 0.3 and a translation a third of the edge.
    Posterize keeps 4 bits at level 0 and at least one bit, as in the released code.

    Args:
        name: name of the operation.
        pixels: images, uint8 [B, C, H, W].
        level: 0 to 10.
        mirrored: bool [B]; reverses the direction of geometric operations.

    Returns:
        The changed images, uint8 [B, C, H, W].
    """
    share = level / LARGEST_LEVEL
    height, width = pixels.shape[-2:]
    match name:
        case "AutoContrast":
            return color.autocontrast(pixels)
        case "Equalize":
            return color.equalize(pixels)
        case "Posterize":
            return color.posterize(pixels, 4 - int(share * 4))
        case "Rotate":
            return geometric.rotate(pixels, float(int(share * 30)), mirrored)
        case "Solarize":
            return color.solarize(pixels, 256 - int(share * 256))
        case "ShearX":
            return geometric.shear_x(pixels, share * 0.3, mirrored)
        case "ShearY":
            return geometric.shear_y(pixels, share * 0.3, mirrored)
        case "TranslateX":
            return geometric.translate_x(pixels, int(share * width / 3), mirrored)
        case "TranslateY":
            return geometric.translate_y(pixels, int(share * height / 3), mirrored)
        case _:
            raise AssertionError(f"no AugMix operation is called {name!r}")


def dirichlet(uniforms: Tensor) -> Tensor:
    """Turns uniform numbers [B, N] into weights from Dirichlet(1, ..., 1), float32 [B, N].

    Weights are exponential numbers divided by their sum, and equal if all of these are 0.
    """
    exponential = -torch.log1p(-uniforms.to(torch.float64))
    total = exponential.sum(dim=1, keepdim=True)
    even = torch.full_like(exponential, 1.0 / exponential.shape[1])
    return torch.where(total > 0, exponential / total, even).to(torch.float32)


def _per_image(values: Tensor, pixels: Tensor) -> Tensor:
    return values.to(pixels.device).view(-1, 1, 1, 1)
