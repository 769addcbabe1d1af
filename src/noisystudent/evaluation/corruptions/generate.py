"""Applies the published corruptions to batches of images; each image has its own random numbers."""

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
from noisystudent.evaluation.corruptions.filters.planes import PLANES_PER_GROUP
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields
from noisystudent.evaluation.corruptions.filters.spatter import spatter
from noisystudent.evaluation.corruptions.filters.weather import brightness, fog, snow
from noisystudent.evaluation.corruptions.tables import TEST_CORRUPTIONS, Level, level_of, table_for
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.pixels import images_at_once
from noisystudent.runtime.thread_shares import map_in_threads

MIN_SIZE = 8
"""The smallest edge of an image in pixels: the largest shifts need some room."""


_PLANE_BATCHED = ("defocus_blur", "zoom_blur")  # these process planes in groups, see filters.planes


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
    """Applies one corruption of ImageNet-C to a batch of images (Hendrycks and Dietterich 2019).

    The corruption of an image depends only on ``seed``, the name, the severity and the image's index, not on its
    batch. An image with one channel is corrupted like one with three equal channels; the result is one channel of the
    noise corruptions, and the luma of corruptions that add colors (frost, spatter, saturate).

    Args:
        pixels: uint8 [B, C, S, S] with one or three channels and S of at least 8.
        name: one of ``tables.CORRUPTIONS``.
        severity: 1 to 5.
        index: the number that addresses each image's random numbers, int64 [B].
        seed: the seed of the random numbers.
        table: the image size in pixels whose published parameters are used: 32, 64, 224 or 299; by default the size
            nearest to S by ratio.
        frost_textures: a folder with photographs of frost, for the corruption frost; by default those of the installed
            package imagecorruptions.

    Returns:
        The corrupted images, a new tensor with the type, shape and device of ``pixels``.

    Raises:
        SettingsError: the name, severity or table does not exist.
        DataError: the images have another type or shape, or frost has no textures.
    """
    _check(pixels, index)
    table = table_for(pixels.shape[-1]) if table is None else table
    level = level_of(name, severity, table)
    if name == "frost":
        image_weight, ice_weight, scale = level
        # With the published scale, textures would be smaller than images that are larger than the table's size.
        level = (image_weight, ice_weight, scale * pixels.shape[-1] / table)
    rng = CounterRng(seed, f"corruption/{name}/{severity}")
    if not len(pixels):
        return pixels.clone()

    def apply_in_chunks(images: Tensor, addresses: Tensor) -> Tensor:
        count = max(images_at_once(images), PLANES_PER_GROUP // images.shape[1] if name in _PLANE_BATCHED else 1)
        chunks = zip(torch.split(images, count), torch.split(addresses, count), strict=True)
        return torch.cat(
            [
                _apply(chunk, name, level, RandomFields(rng, chunk_index), frost_textures)
                for chunk, chunk_index in chunks
            ]
        )

    return map_in_threads(apply_in_chunks, pixels, index.to(pixels.device))


def available_corruptions(frost_textures: Path | None = None) -> tuple[str, ...]:
    """The test corruptions that can be generated, in the paper's order: all 15, or 14 if frost has no textures.

    A mean corruption error needs all 15.

    Args:
        frost_textures: a folder with photographs of frost; by default those of the installed package imagecorruptions.
    """
    return tuple(name for name in TEST_CORRUPTIONS if name != "frost" or have_textures(frost_textures))


def _check(pixels: Tensor, index: Tensor) -> None:
    """Refuses images and indices of another type or shape."""
    shape = list(pixels.shape)
    if pixels.dtype != torch.uint8 or len(shape) != 4 or shape[1] not in (1, 3) or shape[2] != shape[3]:
        raise DataError(
            f"Images to corrupt must be uint8 [B, C, S, S] with one or three channels, not {pixels.dtype} {shape}. "
            "Crop them to squares and convert them to uint8 first."
        )
    if shape[3] < MIN_SIZE:
        raise DataError(f"Images to corrupt must have an edge of at least {MIN_SIZE} px, not {shape[3]}. Resize them.")
    if index.dtype != torch.int64 or list(index.shape) != shape[:1]:
        raise DataError(
            f"The index of images to corrupt must be one int64 number for each of the {shape[0]} images, not "
            f"{index.dtype} {list(index.shape)}. Give a tensor of that type and shape."
        )


def _apply(pixels: Tensor, name: str, level: Level, fields: RandomFields, frost_textures: Path | None) -> Tensor:
    """Applies a corruption with the parameters of one severity."""
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
