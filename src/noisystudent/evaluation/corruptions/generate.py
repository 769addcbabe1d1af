"""Any images under any of the published corruptions, in batches, each image by its own random numbers."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from noisystudent.errors import DataError
from noisystudent.evaluation.corruptions.filters.blur import defocus_blur, gaussian_blur, zoom_blur
from noisystudent.evaluation.corruptions.filters.digital import contrast, jpeg_compression, pixelate, saturate
from noisystudent.evaluation.corruptions.filters.elastic import elastic_transform
from noisystudent.evaluation.corruptions.filters.frost import frost, have_textures
from noisystudent.evaluation.corruptions.filters.glass import glass_blur
from noisystudent.evaluation.corruptions.filters.motion import motion_blur
from noisystudent.evaluation.corruptions.filters.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from noisystudent.evaluation.corruptions.filters.planes import AT_ONCE
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields
from noisystudent.evaluation.corruptions.filters.spatter import spatter
from noisystudent.evaluation.corruptions.filters.weather import brightness, fog, snow
from noisystudent.evaluation.corruptions.tables import TEST_CORRUPTIONS, Level, level_of, table_for
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.pixels import images_at_once
from noisystudent.runtime.thread_shares import in_shares

SMALLEST = 8
"""The smallest edge in pixels of images that can be corrupted: the largest shifts need some room."""


_IN_SIXTEENS = ("defocus_blur", "zoom_blur")


def corrupt(
    pixels: Tensor,
    name: str,
    severity: int,
    *,
    index: Tensor,
    seed: int,
    table: int | None = None,
    frost_textures: Path | None = None,
) -> Tensor:
    """Images under one corruption of ImageNet-C at a severity of 1 to 5 (Hendrycks and Dietterich, 2019).

    ``pixels`` is ``uint8 [B, C, S, S]`` with one channel or three and S of 8 or more; the result is a new tensor of
    the same type, shape and device. ``index``, int64 ``[B]``, is each image's own number: an image's corruption is
    a function of ``seed``, the name, the severity and its index, whatever batch it comes in. ``table`` is the image
    size in pixels whose published parameters are taken, 32, 64, 224 or 299; the nearest by ratio unless named.

    Images of one channel are corrupted as three equal ones would be: where the corruption has colors of its own
    (frost, spatter, saturate) the result is the luma of that; of noise, one channel's. ``frost_textures`` is a folder
    of photographs that frost needs, those of an installed package imagecorruptions unless named.

    Raises ``SettingsError`` for a name, severity or table that does not exist, and ``DataError`` for images of
    another type or shape, and for frost without textures.
    """
    _check(pixels, index)
    table = table_for(pixels.shape[-1]) if table is None else table
    level = level_of(name, severity, table)
    if name == "frost":
        kept, weight, scale = level
        # Textures as published would be smaller than images that are larger than those of the table.
        level = (kept, weight, scale * pixels.shape[-1] / table)
    rng = CounterRng(seed, f"corruption/{name}/{severity}")
    if not len(pixels):
        return pixels.clone()

    def corrupted(some: Tensor, addresses: Tensor) -> Tensor:
        most = max(images_at_once(some), AT_ONCE // some.shape[1] if name in _IN_SIXTEENS else 1)
        parts = zip(torch.split(some, most), torch.split(addresses, most), strict=True)
        return torch.cat([_corrupted(part, name, level, RandomFields(rng, own), frost_textures) for part, own in parts])

    return in_shares(corrupted, pixels, index.to(pixels.device))


def available_corruptions(frost_textures: Path | None = None) -> tuple[str, ...]:
    """The test corruptions that can be made here, in the paper's order: all 15, or 14 where frost has no textures.

    A mean corruption error is over all 15; with fewer there is none to report.
    """
    return tuple(name for name in TEST_CORRUPTIONS if name != "frost" or have_textures(frost_textures))


def _check(pixels: Tensor, index: Tensor) -> None:
    """Refuse images and addresses of another type or shape."""
    shape = list(pixels.shape)
    if pixels.dtype != torch.uint8 or len(shape) != 4 or shape[1] not in (1, 3) or shape[2] != shape[3]:
        raise DataError(
            f"Images to corrupt are uint8 [B, C, S, S] with one channel or three, not {pixels.dtype} {shape}; crop "
            "them to squares of gray levels first."
        )
    if shape[3] < SMALLEST:
        raise DataError(f"Images to corrupt have an edge of {SMALLEST} px or more, not of {shape[3]}; enlarge them.")
    if index.dtype != torch.int64 or list(index.shape) != shape[:1]:
        raise DataError(
            f"The index of images to corrupt is one int64 number for each of the {shape[0]}, not {index.dtype} "
            f"{list(index.shape)}."
        )


def _corrupted(pixels: Tensor, name: str, level: Level, fields: RandomFields, frost_textures: Path | None) -> Tensor:
    """Some images under the corruption with the parameters of a level."""
    match name:
        case "gaussian_noise":
            return gaussian_noise(pixels, fields, *level)
        case "shot_noise":
            return shot_noise(pixels, fields, *level)
        case "impulse_noise":
            return impulse_noise(pixels, fields, *level)
        case "speckle_noise":
            return speckle_noise(pixels, fields, *level)
        case "defocus_blur":
            return defocus_blur(pixels, *level)
        case "glass_blur":
            return glass_blur(pixels, fields, *level)
        case "motion_blur":
            return motion_blur(pixels, fields, *level)
        case "zoom_blur":
            return zoom_blur(pixels, *level)
        case "gaussian_blur":
            return gaussian_blur(pixels, *level)
        case "snow":
            return snow(pixels, fields, *level)
        case "frost":
            return frost(pixels, fields, *level, textures=frost_textures)
        case "fog":
            return fog(pixels, fields, *level)
        case "spatter":
            return spatter(pixels, fields, *level)
        case "brightness":
            return brightness(pixels, *level)
        case "contrast":
            return contrast(pixels, *level)
        case "elastic_transform":
            return elastic_transform(pixels, fields, *level)
        case "pixelate":
            return pixelate(pixels, *level)
        case "jpeg_compression":
            return jpeg_compression(pixels, *level)
        case _:
            assert name == "saturate"
            return saturate(pixels, *level)
