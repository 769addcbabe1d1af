"""Frost: photographs of frosted glass, blended with an image. This package does not include any."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from noisystudent.errors import DataError
from noisystudent.evaluation.corruptions.filters.levels import to_gray, truncate_to_uint8
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields

_TEXTURES = 5  # the published code has six and draws one of the first five
_SUFFIXES = (".png", ".jpg", ".jpeg")


def frost(
    pixels: Tensor, fields: RandomFields, image_weight: float, ice_weight: float, scale: float, *, textures: Path | None
) -> Tensor:
    """Blends each image with a random crop of a random frost texture.

    Args:
        pixels: uint8 ``[B, C, S, S]``; an image with one channel gets the luma of the texture.
        fields: the images' random numbers.
        image_weight: weight of the image.
        ice_weight: weight of the texture.
        scale: factor by which textures are resized.
        textures: a folder of textures; None: those of the installed package imagecorruptions.

    Returns:
        The blended images, as ``pixels``.

    Raises:
        DataError: there are no textures, or one is smaller than the images.
    """
    loaded = _load_textures(textures_folder(textures), scale)
    size = pixels.shape[-1]
    crops = [_random_crop(loaded, numbers, size) for numbers in fields.uniform(3).tolist()]
    ice = torch.stack(crops).to(pixels.device, torch.float32)
    ice = to_gray(ice) if pixels.shape[1] == 1 else ice
    return truncate_to_uint8(ice.mul_(ice_weight).add_(pixels, alpha=image_weight))


def textures_folder(given: Path | None) -> Path:
    """The folder of frost textures.

    Args:
        given: a folder; None: that of the installed package imagecorruptions.

    Returns:
        A folder with textures.

    Raises:
        DataError: no folder is given and the package is not installed, or the folder has no textures.
    """
    folder = given or _installed_folder()
    if folder is None:
        raise DataError(
            "The corruption 'frost' needs photographs of frosted glass, which this package does not include. Set "
            "evaluation.frost_textures to a folder of such photographs, or install the package imagecorruptions-imaug, "
            "which has the published ones. Without frost there is no mean corruption error, because it averages all 15 "
            "corruptions."
        )
    if not _texture_files(folder):
        raise DataError(
            f"The folder of frost textures {str(folder)!r} does not exist or has no image (PNG or JPEG). Set "
            "evaluation.frost_textures to a folder with photographs of frost, or leave it empty."
        )
    return folder


def have_textures(given: Path | None) -> bool:
    """Whether there are frost textures, in the given folder or in the installed package imagecorruptions."""
    folder = given or _installed_folder()
    return folder is not None and bool(_texture_files(folder))


def _installed_folder() -> Path | None:
    """The textures of the package imagecorruptions; it is not imported, because that would load OpenCV and numba."""
    spec = importlib.util.find_spec("imagecorruptions")
    folder = Path(spec.origin).parent / "frost" if spec and spec.origin else None
    return folder if folder and folder.is_dir() else None


def _texture_files(folder: Path) -> list[Path]:
    """The textures in use, sorted by name."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)[:_TEXTURES]


@lru_cache(maxsize=2)
def _load_textures(folder: Path, scale: float) -> list[Tensor]:
    """The textures as ``uint8 [3, H, W]``, resized by ``scale``."""
    textures = []
    for path in _texture_files(folder):
        with Image.open(path) as image:
            textures.append(_resize(np.asarray(image.convert("RGB")), scale))
    return textures


def _resize(texture: np.ndarray, scale: float) -> Tensor:
    """Samples a texture ``[H, W, 3]`` bilinearly every 1 / ``scale`` pixels without averaging, as OpenCV resizes."""
    values = texture.astype(np.float64)
    for axis in (0, 1):
        length = values.shape[axis]
        positions = ((np.arange(round(length * scale)) + 0.5) / scale - 0.5).clip(0, length - 1)
        before = np.floor(positions).astype(np.int64)
        fraction = (positions - before).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        after = np.minimum(before + 1, length - 1)
        values = values.take(before, axis) * (1 - fraction) + values.take(after, axis) * fraction
    return torch.from_numpy(np.floor(values + 0.5).astype(np.uint8)).permute(2, 0, 1).contiguous()


def _random_crop(textures: list[Tensor], numbers: list[float], size: int) -> Tensor:
    """The crop that three numbers in [0, 1) choose: the texture, the top row and the left column."""
    texture = textures[int(numbers[0] * len(textures))]
    height, width = texture.shape[1:]
    if min(height, width) <= size:
        raise DataError(
            f"A frost texture of {width} x {height} px is too small for images of {size} px; it must be larger than "
            "they are. Set evaluation.frost_textures to a folder with larger ones, or leave frost out."
        )
    top, left = int(numbers[1] * (height - size)), int(numbers[2] * (width - size))
    return texture[:, top : top + size, left : left + size]
