"""RandAugment policies: the effect of an operation at a magnitude, by the paper, graded, by timm and by torchvision.

``paper`` is Noisy Student's code. Magnitude M scales by M / 10: rotation 30 degrees, shear 0.3, translation 100 pixels,
cutout half-edge 40 pixels, enhancement factor 1.8 x + 0.1, posterize 4 bits, solarize threshold 256, solarize-add 110;
geometric operations have a random direction. Two properties are surprising. A larger magnitude makes Posterize and
Solarize *weaker*: more bits stay, fewer pixels are inverted. And small magnitudes are not weak for the enhancements,
whose identity is M = 5. Both are as published. Cases that the published code leaves undefined are defined here: eight
or more bits (M >= 20) and a threshold of 256 or more (M >= 10) change nothing, and Posterize keeps at least one bit
(M < 2.5). Contrast blends with the image's mean gray, as Pillow's does.

``released`` is ``paper`` with the Contrast that the published TensorFlow code computes, which blends with a gray that
depends on the image's area alone.

``graded`` is our own: the same operations, but magnitude 0 changes nothing, and the effect never decreases with the
magnitude. The factor of an enhancement differs from 1 by up to 0.9 in a random direction; Posterize removes up to 4
bits; Solarize inverts more and more of the bright pixels; the three operations without a magnitude act on a fraction of
the images. All of these reach their full effect at M = 10; the others are as published and continue to grow.

``timm`` and ``torchvision`` are RandAugment of those libraries: the same operations at their scales, without Cutout,
with translations by a fraction of the image's edge. timm applies an operation with probability 0.5, and its magnitudes
end at 10; its Posterize can reach 0 bits, which Pillow refuses, so at least one bit stays here. torchvision's
magnitudes end at 30, its enhancements have a random direction, and one of its operations is the identity. All geometric
operations here use the nearest neighbor; timm draws bilinear or bicubic interpolation per image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from noisystudent.noise import color, geometric
from noisystudent.noise.pixels import choose
from noisystudent.noise.settings import OPERATIONS_OF, RandAugmentPolicy


@dataclass(frozen=True)
class Distances:
    """The translation and the half-edge of a cutout at magnitude 10, in pixels, for images of one size."""

    translation: float = 100.0
    cutout: float = 40.0

    def scaled(self, factor: float) -> Distances:
        """Returns the distances for images ``factor`` times as large."""
        return Distances(self.translation * factor, self.cutout * factor)


PUBLISHED_DISTANCES = Distances()

Apply = Callable[[str, Tensor, float, Tensor, Distances], Tensor]
"""A function such as ``apply_operation``: (name, pixels, magnitude, uniforms, distances) to changed pixels."""


@dataclass(frozen=True)
class Policy:
    """A set of operations and their scales; an operation acts on an image with ``probability``."""

    operations: tuple[str, ...]
    apply: Apply
    probability: float = 1.0


def apply_operation(name: str, pixels: Tensor, magnitude: float, uniforms: Tensor, distances: Distances) -> Tensor:
    """Applies an operation by the policy ``paper``.

    Args:
        name: name of the operation.
        pixels: images, uint8 [B, C, H, W].
        magnitude: 0 to 30.
        uniforms: random numbers, [B, 3] in [0, 1): below 0.5, the first reverses the direction of a geometric
            operation; the others are row and column of a cutout's center.
        distances: translation and cutout in pixels at magnitude 10.

    Returns:
        The changed images, uint8 [B, C, H, W].
    """
    level = magnitude / 10.0
    mirrored = uniforms[:, 0] < 0.5
    distance = _whole_pixels(level * distances.translation)
    factor = level * 1.8 + 0.1
    match name:
        case "AutoContrast":
            return color.autocontrast(pixels)
        case "Equalize":
            return color.equalize(pixels)
        case "Invert":
            return color.invert(pixels)
        case "Rotate":
            return geometric.rotate(pixels, level * 30.0, mirrored)
        case "Posterize":
            return color.posterize(pixels, int(level * 4))
        case "Solarize":
            return color.solarize(pixels, int(level * 256))
        case "Color" | "Contrast" | "Brightness" | "Sharpness":
            return _enhance(name, pixels, factor)
        case "ShearX":
            return geometric.shear_x(pixels, level * 0.3, mirrored)
        case "ShearY":
            return geometric.shear_y(pixels, level * 0.3, mirrored)
        case "TranslateX":
            return geometric.translate_x(pixels, distance, mirrored)
        case "TranslateY":
            return geometric.translate_y(pixels, distance, mirrored)
        case "SolarizeAdd":
            return color.solarize_add(pixels, int(level * 110))
        case "Cutout":
            return geometric.cutout(pixels, int(level * distances.cutout), uniforms[:, 1:])
        case _:
            raise AssertionError(f"no RandAugment operation is called {name!r}")


def apply_released(name: str, pixels: Tensor, magnitude: float, uniforms: Tensor, distances: Distances) -> Tensor:
    """Applies an operation by the policy ``released``; the arguments are those of ``apply_operation``."""
    if name == "Contrast":
        return color.contrast_as_released(pixels, magnitude / 10.0 * 1.8 + 0.1)
    return apply_operation(name, pixels, magnitude, uniforms, distances)


def _enhance(name: str, pixels: Tensor, factor: Tensor | float) -> Tensor:
    """Applies one of Pillow's four enhancements; factor 1 changes nothing."""
    enhance = {
        "Color": color.saturation,
        "Contrast": color.contrast,
        "Brightness": color.brightness,
        "Sharpness": color.sharpness,
    }[name]
    return enhance(pixels, factor)


def _whole_pixels(distance: float) -> int:
    """Rounds a distance, because a nearest-neighbor shift by a fraction of a pixel is a shift by whole pixels."""
    return math.floor(distance + 0.5)


def apply_graded(name: str, pixels: Tensor, magnitude: float, uniforms: Tensor, distances: Distances) -> Tensor:
    """Applies an operation by the policy ``graded``; the arguments are those of ``apply_operation``.

    The first of the ``uniforms`` is also the direction of an enhancement; the second decides whether an operation
    without a magnitude acts.
    """
    share = min(magnitude / 10.0, 1.0)
    direction = torch.where(uniforms[:, 0] < 0.5, -1.0, 1.0).to(pixels.device, torch.float32)
    factor = 1.0 + 0.9 * share * direction.view(-1, 1, 1, 1)
    match name:
        case "AutoContrast" | "Equalize" | "Invert":
            changed = apply_operation(name, pixels, magnitude, uniforms, distances)
            return choose(uniforms[:, 1] < share, changed, pixels)
        case "Posterize":
            return color.posterize(pixels, 8 - int(4 * share))
        case "Solarize":
            return color.solarize(pixels, 256 - int(256 * share))
        case "Color" | "Contrast" | "Brightness" | "Sharpness":
            return _enhance(name, pixels, factor)
        case _:
            return apply_operation(name, pixels, magnitude, uniforms, distances)


def apply_timm(name: str, pixels: Tensor, magnitude: float, uniforms: Tensor, distances: Distances) -> Tensor:
    """Applies an operation by timm's scales (magnitude 0 to 10, translation by up to 0.45 of the edge).

    The arguments are those of ``apply_operation``.
    """
    level = min(magnitude, 10.0) / 10.0
    height, width = pixels.shape[-2:]
    mirrored = uniforms[:, 0] < 0.5
    match name:
        case "TranslateX":
            return geometric.translate_x(pixels, _whole_pixels(level * 0.45 * width), mirrored)
        case "TranslateY":
            return geometric.translate_y(pixels, _whole_pixels(level * 0.45 * height), mirrored)
        case _:
            return apply_operation(name, pixels, min(magnitude, 10.0), uniforms, distances)


def apply_torchvision(name: str, pixels: Tensor, magnitude: float, uniforms: Tensor, distances: Distances) -> Tensor:
    """Applies an operation by torchvision's scales (magnitude 0 to 30, translation by up to 150/331 of the edge).

    The arguments are those of ``apply_operation``.
    """
    level = min(magnitude, 30.0) / 30.0
    height, width = pixels.shape[-2:]
    mirrored = uniforms[:, 0] < 0.5
    direction = torch.where(mirrored, -1.0, 1.0).to(pixels.device, torch.float32).view(-1, 1, 1, 1)
    factor = 1.0 + 0.9 * level * direction
    match name:
        case "Identity":
            return pixels.clone()
        case "TranslateX":
            return geometric.translate_x(pixels, int(level * 150.0 / 331.0 * width), mirrored)
        case "TranslateY":
            return geometric.translate_y(pixels, int(level * 150.0 / 331.0 * height), mirrored)
        case "Posterize":
            return color.posterize(pixels, 8 - round(level * 4.0))
        case "Solarize":
            return color.solarize(pixels, math.ceil(255.0 - 255.0 * level))
        case "Color" | "Contrast" | "Brightness" | "Sharpness":
            return _enhance(name, pixels, factor)
        case _:
            return apply_operation(name, pixels, level * 10.0, uniforms, distances)


POLICIES: dict[RandAugmentPolicy, Policy] = {
    "paper": Policy(OPERATIONS_OF["paper"], apply_operation),
    "released": Policy(OPERATIONS_OF["released"], apply_released),
    "graded": Policy(OPERATIONS_OF["graded"], apply_graded),
    "timm": Policy(OPERATIONS_OF["timm"], apply_timm, probability=0.5),
    "torchvision": Policy(OPERATIONS_OF["torchvision"], apply_torchvision),
}
"""The policies by their names in the setting ``noise.policy``."""
