"""Frost: photographs of frosted glass laid over an image. None come with this package."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from noisystudent.errors import DataError
from noisystudent.evaluation.corruptions.filters.levels import cut_off, gray
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields

_USED = 5  # the published code has six and draws one of the first five
_ENDINGS = (".png", ".jpg", ".jpeg")


def frost(
    pixels: Tensor, fields: RandomFields, kept: float, weight: float, scale: float, *, textures: Path | None
) -> Tensor:
    """Add ``weight`` times a random part of a random texture, shrunk by ``scale``, to ``kept`` times the image.

    A gray image gets the luma of the texture. ``textures`` is a folder; without one, that of an installed package
    imagecorruptions is taken. A DataError says when there is none, or when a texture is smaller than the images.
    """
    choices = _textures(textures_folder(textures), scale)
    size = pixels.shape[-1]
    parts = [_part(choices, drawn, size) for drawn in fields.uniform(3).tolist()]
    ice = torch.stack(parts).to(pixels.device, torch.float32)
    ice = gray(ice) if pixels.shape[1] == 1 else ice
    return cut_off(ice.mul_(weight).add_(pixels, alpha=kept))


def textures_folder(given: Path | None) -> Path:
    """The folder of frost textures: the one given, else that of an installed package imagecorruptions."""
    folder = given or _installed()
    if folder is None:
        raise DataError(
            "The corruption 'frost' needs photographs of frosted glass, which do not come with this package. Name a "
            "folder with some as evaluation.frost_textures, or install the package imagecorruptions-imaug, which has "
            "the published ones; else leave frost out, and with it the mean corruption error, which is over all 15."
        )
    if not _images(folder):
        raise DataError(
            f"The folder of frost textures {str(folder)!r} is not there, or has no image (PNG or JPEG). Give one "
            "with photographs of frost as evaluation.frost_textures, or leave it out."
        )
    return folder


def have_textures(given: Path | None) -> bool:
    """Whether there are frost textures, in the folder given or in an installed package."""
    folder = given or _installed()
    return folder is not None and bool(_images(folder))


def _installed() -> Path | None:
    """Where the package imagecorruptions keeps its textures; it is not imported, which would load OpenCV and numba."""
    found = importlib.util.find_spec("imagecorruptions")
    folder = Path(found.origin).parent / "frost" if found and found.origin else None
    return folder if folder and folder.is_dir() else None


def _images(folder: Path) -> list[Path]:
    """The textures that are used, in the order of their names."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS)[:_USED]


@lru_cache(maxsize=2)
def _textures(folder: Path, scale: float) -> list[Tensor]:
    """The textures as ``uint8 [3, H, W]``, shrunk by ``scale``."""
    found = []
    for path in _images(folder):
        with Image.open(path) as image:
            found.append(_shrunk(np.asarray(image.convert("RGB")), scale))
    return found


def _shrunk(texture: np.ndarray, scale: float) -> Tensor:
    """The texture ``[H, W, 3]`` read bilinearly every 1 / ``scale`` pixels, nothing averaged, as OpenCV resizes."""
    values = texture.astype(np.float64)
    for axis in (0, 1):
        length = values.shape[axis]
        places = ((np.arange(round(length * scale)) + 0.5) / scale - 0.5).clip(0, length - 1)
        before = np.floor(places).astype(np.int64)
        part = (places - before).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        after = np.minimum(before + 1, length - 1)
        values = values.take(before, axis) * (1 - part) + values.take(after, axis) * part
    return torch.from_numpy(np.floor(values + 0.5).astype(np.uint8)).permute(2, 0, 1).contiguous()


def _part(choices: list[Tensor], drawn: list[float], size: int) -> Tensor:
    """The part of a texture that three numbers in [0, 1) choose: which texture, from which row and column on."""
    texture = choices[int(drawn[0] * len(choices))]
    height, width = texture.shape[1:]
    if min(height, width) <= size:
        raise DataError(
            f"A frost texture of {width} x {height} px is too small for images of {size} px: it must be larger than "
            "they are. Name a folder with larger ones as 'frost_textures', or leave frost out."
        )
    top, left = int(drawn[1] * (height - size)), int(drawn[2] * (width - size))
    return texture[:, top : top + size, left : left + size]
