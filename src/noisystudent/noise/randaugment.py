"""RandAugment as Noisy Student used it: batched, on the device of the pictures, one draw a picture.

Cubuk et al., 2020, with the 16 operations and scales of the Noisy Student code: the magnitude is the same
for every picture, each layer draws one operation for each picture with replacement, and applies it always.
Magnitude M scales by M / 10: rotation 30 degrees, shear 0.3, translation 100 pixels, cutout half-edge 40
pixels, enhancement factor 1.8 x + 0.1, posterize 4 bits, solarize threshold 256, solarize-add 110; the
geometric ones go either way.

That is the policy ``paper``. Two things in it surprise. A larger magnitude makes Posterize and Solarize *weaker*:
more bits stay, fewer pixels turn. And small magnitudes are not weak for the enhancements, whose identity is M = 5.
Both are kept as published. What the published code leaves to chance is defined here: eight or more bits (M >= 20)
and a threshold of 256 or more (M >= 10) change nothing, and Posterize keeps at least one bit (M < 2.5).

The policy ``graded`` is ours: the same operations, but magnitude 0 changes nothing and a larger one never
less. The enhancements go either way from 1, by up to 0.9; Posterize takes up to 4 bits away; Solarize turns
more and more of the bright pixels; the three operations without a magnitude act on a share of the pictures.
All of these are full at M = 10; the others are as published and go on growing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noisystudent.noise import color, geometric
from noisystudent.noise.pixels import choose
from noisystudent.noise.settings import Policy

LARGEST_MAGNITUDE = 30.0

OPERATIONS = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "SolarizeAdd",
    "Cutout",
)
"""The paper's operations, in the order of its code."""

# An operation's own chance: direction, then the row and column of a cutout. One more number chooses the
# operation.
_CHANCES = 3
_CACHED_FLOATS = 1 << 18  # 1 MiB: operations make a few float copies, and those of 128 pictures of 224 px fit no cache
_DRAWS_A_LAYER = 1 + _CHANCES


class RandAugment:
    """Random distortion of pictures by ``layers`` operations of ``magnitude`` (0 to 30), one draw a picture.

    ``policy`` says how operations grow with the magnitude. ``pixel_reference`` is the picture
    edge for which the pixel distances are meant; 0 takes them as they are.
    """

    def __init__(self, *, layers: int, magnitude: float, policy: Policy = "paper", pixel_reference: int = 224) -> None:
        assert 0.0 <= magnitude <= LARGEST_MAGNITUDE, magnitude
        self.layers = layers
        self.magnitude = magnitude
        self.pixel_reference = pixel_reference
        self._apply = apply_graded if policy == "graded" else apply_operation

    @property
    def draws(self) -> int:
        """How many uniform numbers a picture needs."""
        return self.layers * _DRAWS_A_LAYER

    def __call__(self, pixels: Tensor, uniforms: Tensor) -> Tensor:
        """Distorted copies of ``pixels`` (``uint8 [B, C, H, W]``) by ``uniforms`` (``[B, draws]`` in [0, 1)).

        Uniforms on the CPU let the pictures be grouped by operation without waiting for an accelerator.
        """
        for layer in uniforms.view(len(uniforms), self.layers, _DRAWS_A_LAYER).unbind(1):
            pixels = self._distorted(pixels, layer)
        return pixels

    def _distorted(self, pixels: Tensor, layer: Tensor) -> Tensor:
        """One layer: the pictures sorted by operation, each run of them changed at once, and sorted back."""
        operation = (layer[:, 0] * len(OPERATIONS)).to(torch.int64)
        order = operation.argsort(stable=True)
        counts = torch.bincount(operation, minlength=len(OPERATIONS)).tolist()
        sorted_pixels = pixels.index_select(0, order.to(pixels.device))
        sorted_chances = layer.index_select(0, order)[:, 1:]
        most = _pictures_at_once(pixels)
        changed = [
            self._apply(name, some, self.magnitude, chances, pixel_reference=self.pixel_reference)
            for name, run, run_chances in zip(
                OPERATIONS,
                torch.split_with_sizes(sorted_pixels, counts),
                torch.split_with_sizes(sorted_chances, counts),
                strict=True,
            )
            if len(run)
            for some, chances in zip(run.split(most), run_chances.split(most), strict=True)
        ]
        return torch.cat(changed).index_select(0, order.argsort().to(pixels.device))


def _pictures_at_once(pixels: Tensor) -> int:
    """How many pictures an operation takes at once: on a CPU as many as stay in its cache as float32, else all."""
    if pixels.device.type != "cpu":
        return max(1, len(pixels))
    return max(1, _CACHED_FLOATS // pixels[0].numel())


def apply_operation(name: str, pixels: Tensor, magnitude: float, chances: Tensor, *, pixel_reference: int) -> Tensor:
    """Copies of ``pixels`` (``uint8 [B, C, H, W]``) changed by the operation ``name`` at ``magnitude`` (0
    to 30).

    ``chances`` is ``[B, 3]`` in [0, 1): below a half in the first turns a geometric operation the other
    way, the others are the row and column of a cutout's center. ``pixel_reference`` is as in
    ``RandAugment``.
    """
    level = magnitude / 10.0
    pixel_scale = min(pixels.shape[-2:]) / pixel_reference if pixel_reference else 1.0
    mirrored = chances[:, 0] < 0.5
    # Whole pixels, because a nearest-neighbor shift by a fraction is a shift by its rounded value.
    distance = math.floor(level * 100.0 * pixel_scale + 0.5)
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
        case "Color":
            return color.saturation(pixels, factor)
        case "Contrast":
            return color.contrast(pixels, factor)
        case "Brightness":
            return color.brightness(pixels, factor)
        case "Sharpness":
            return color.sharpness(pixels, factor)
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
            return geometric.cutout(pixels, int(level * 40.0 * pixel_scale), chances[:, 1:])
        case _:
            raise AssertionError(f"no RandAugment operation is called {name!r}")


def apply_graded(name: str, pixels: Tensor, magnitude: float, chances: Tensor, *, pixel_reference: int) -> Tensor:
    """As ``apply_operation``, by the policy ``graded``: nothing at magnitude 0, and never less at a larger one.

    The first of the ``chances`` also says whether an enhancement goes up or down, the second whether an
    operation without a magnitude acts.
    """
    share = min(magnitude / 10.0, 1.0)
    direction = torch.where(chances[:, 0] < 0.5, -1.0, 1.0).to(pixels.device, torch.float32)
    factor = 1.0 + 0.9 * share * direction.view(-1, 1, 1, 1)
    match name:
        case "AutoContrast" | "Equalize" | "Invert":
            changed = apply_operation(name, pixels, magnitude, chances, pixel_reference=pixel_reference)
            return choose(chances[:, 1] < share, changed, pixels)
        case "Posterize":
            return color.posterize(pixels, 8 - int(4 * share))
        case "Solarize":
            return color.solarize(pixels, 256 - int(256 * share))
        case "Color":
            return color.saturation(pixels, factor)
        case "Contrast":
            return color.contrast(pixels, factor)
        case "Brightness":
            return color.brightness(pixels, factor)
        case "Sharpness":
            return color.sharpness(pixels, factor)
        case _:
            return apply_operation(name, pixels, magnitude, chances, pixel_reference=pixel_reference)
