"""AugMix, another noise than RandAugment: several short chains of operations, blended with the image itself.

Hendrycks et al., 2020: 3 chains of 1 to 3 operations each, their results averaged by weights from Dirichlet(1, 1, 1),
and the average blended with the image by a share from Beta(1, 1). Every operation draws a level of its own up to the
magnitude. The operations are those that resemble no corruption of ImageNet-C.

Different here: a level is one of ten equal steps up to the magnitude, not a real number, so that images can be
changed in groups; geometry takes the nearest neighbor and fills with gray, as everywhere in this package; the blend is
rounded to whole gray levels. The consistency loss of the paper is no part of a noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from noisystudent.noise import color, geometric
from noisystudent.noise.grouping import change_groups, portion
from noisystudent.noise.pixels import to_bytes
from noisystudent.noise.settings import AUGMIX_OPERATIONS

CHAINS = 3
LEVELS = 10
LARGEST_LEVEL = 10.0

_DRAWS_AN_OPERATION = 3  # which one, its level, its direction
_BLEND_DRAWS = 1 + CHAINS  # the image's own share, the chains' weights


class AugMix:
    """Random blends of images with chains of 1 to ``depth`` operations of ``magnitude`` (0 to 10), one draw each.

    ``operations`` says which are drawn, all of AugMix's when empty. The paper has depth 3 and magnitude 3 for small
    images, 1 for ImageNet.
    """

    def __init__(self, *, depth: int, magnitude: float, operations: tuple[str, ...] = ()) -> None:
        assert 0.0 <= magnitude <= LARGEST_LEVEL, magnitude
        self.depth = depth
        self.magnitude = magnitude
        self.operations = operations or AUGMIX_OPERATIONS

    @property
    def rng(self) -> int:
        """How many uniform numbers an image needs."""
        return _BLEND_DRAWS + CHAINS * (1 + self.depth * _DRAWS_AN_OPERATION)

    def __call__(self, pixels: Tensor, uniforms: Tensor) -> Tensor:
        """Blends of ``pixels`` (``uint8 [B, C, H, W]``) by ``uniforms`` (``[B, rng]`` in [0, 1)), on the CPU."""
        most = portion(pixels)
        portions = zip(torch.split(pixels, most), torch.split(uniforms, most), strict=True)
        return torch.cat([self._blend(some, chances) for some, chances in portions])

    def _blend(self, pixels: Tensor, uniforms: Tensor) -> Tensor:
        share, weights = uniforms[:, 0], dirichlet(uniforms[:, 1:_BLEND_DRAWS])
        rng = uniforms[:, _BLEND_DRAWS:].view(len(uniforms), CHAINS, 1 + self.depth * _DRAWS_AN_OPERATION)
        blend = pixels.to(torch.float32).mul_(_per_image(1.0 - share, pixels))
        for weight, chain in zip(weights.unbind(1), rng.unbind(1), strict=True):
            blend += self._chain(pixels, chain).to(torch.float32).mul_(_per_image(share * weight, pixels))
        return to_bytes(blend.add_(0.5))

    def _chain(self, pixels: Tensor, rng: Tensor) -> Tensor:
        """One to ``depth`` operations on each image, one after another."""
        depth = (rng[:, 0] * self.depth).to(torch.int64) + 1
        nothing = len(self.operations) * LEVELS
        for number, operation in enumerate(rng[:, 1:].view(len(rng), self.depth, _DRAWS_AN_OPERATION).unbind(1)):
            name = (operation[:, 0] * len(self.operations)).to(torch.int64)
            level = (operation[:, 1] * LEVELS).to(torch.int64)
            group = torch.where(number < depth, name * LEVELS + level, nothing)
            pixels = change_groups(pixels, group, nothing + 1, operation[:, 2:], self._changed)
        return pixels

    def _changed(self, group: int, pixels: Tensor, chances: Tensor) -> Tensor:
        operation, step = divmod(group, LEVELS)
        if operation == len(self.operations):
            return pixels
        return apply_augmix(
            self.operations[operation], pixels, self.magnitude * (step + 1) / LEVELS, chances[:, 0] < 0.5
        )


def apply_augmix(name: str, pixels: Tensor, level: float, mirrored: Tensor) -> Tensor:
    """Images ``uint8 [B, C, H, W]`` changed by the operation ``name`` at ``level`` (0 to 10) of AugMix's scales.

    At 10 they are 30 degrees, threshold 0, shear 0.3 and a third of the edge; geometric ones go the other way where
    ``mirrored`` ``[B]``. Posterize keeps 4 bits at level 0 already, as released, and never less than one.
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
    """Weights from Dirichlet(1, ..., 1), float32 ``[B, N]``: exponential numbers by their sum, equal if all are 0."""
    exponential = -torch.log1p(-uniforms.to(torch.float64))
    total = exponential.sum(dim=1, keepdim=True)
    even = torch.full_like(exponential, 1.0 / exponential.shape[1])
    return torch.where(total > 0, exponential / total, even).to(torch.float32)


def _per_image(values: Tensor, pixels: Tensor) -> Tensor:
    return values.to(pixels.device).view(-1, 1, 1, 1)
