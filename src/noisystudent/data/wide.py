"""Images with 16 bits per channel: how many of the bits are in use, and their values with 8 bits.

Cameras and scanners store 10, 12 or 14 bits in 16. Divided by 257, such an image is nearly black and has few levels.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from noisystudent.errors import DataError

DEPTHS = (8, 10, 12, 14, 16)  # bits per channel that devices deliver
WIDE_GRAY_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")

_LARGEST = 65535
_WIDE_COLOR = re.compile(r"(?:LA|RGB|RGBA|RGBX|RGBa|CMYK);16([BLN])")
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}

Values = npt.NDArray[Any]  # integers of any size


def depth_of(largest: int) -> int:
    """The smallest of ``DEPTHS`` whose range, from 0, contains the value ``largest`` (0 to 65535)."""
    return next(bits for bits in DEPTHS if largest < 2**bits)


def is_wide(image: Image.Image) -> bool:
    """Whether an image of which only the header is read has 16 bits per channel."""
    return image.mode in WIDE_GRAY_MODES or bool(_raw_mode(image))


def largest_color(image: Image.Image, again: Image.Image) -> int:
    """The largest value of a wide image that is not loaded yet, without its alpha; ``again`` is the same once more."""
    if image.mode in WIDE_GRAY_MODES:
        return int(_checked(np.asarray(image)).max())
    return int(_load_values(image, again)[..., :3].max())


def to_eight_bits(values: Values, bits: int | None) -> npt.NDArray[np.uint8]:
    """Values that use ``bits`` of 16 bits, scaled to 0..255; larger ones become 255.

    ``bits`` None: as many as these values need. Raises ``DataError`` for values that 16 bits cannot hold.
    """
    values = _checked(values)
    levels = _levels(depth_of(int(values.max())) if bits is None else bits)
    return np.take(levels, values)


def load_wide_color(image: Image.Image, again: Image.Image, bits: int | None) -> Image.Image:
    """A wide color image that is not loaded yet, with 8 bits per channel; ``again`` is the same image once more."""
    values = _load_values(image, again)
    if image.mode == "CMYK":
        return Image.frombytes("CMYK", image.size, _levels(16)[values].tobytes())
    pixels = to_eight_bits(values[..., :3], bits)
    if values.shape[2] == 4:  # opaque is the largest value of 16 bits, however many bits the colors use
        pixels = np.concatenate([pixels, _levels(16)[values[..., 3:]]], axis=2)
    result = Image.fromarray(pixels)
    if "exif" in image.info:
        result.info["exif"] = image.info["exif"]
    return result


def _checked(values: Values) -> Values:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > _LARGEST:
        raise DataError(f"its values go from {low} to {high}, and 0 to {_LARGEST} are read: save it with 8 or 16 bits")
    return values


@cache
def _levels(bits: int) -> npt.NDArray[np.uint8]:
    """The level, 0 to 255, of every value of 16 bits if ``bits`` of them are in use."""
    top = 2**bits - 1
    levels: npt.NDArray[np.uint8] = np.rint(np.minimum(np.arange(_LARGEST + 1), top) * (255 / top)).astype(np.uint8)
    return levels


def _raw_mode(image: Image.Image) -> str:
    """The layout of a wide color image in its file, such as ``RGB;16B``; empty for other images."""
    tiles = getattr(image, "tile", None) or [None]
    arguments = getattr(tiles[0], "args", None)
    mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return mode if isinstance(mode, str) and _WIDE_COLOR.fullmatch(mode) else ""


def _load_values(image: Image.Image, again: Image.Image) -> Values:
    """The values of a wide color image, [H, W, C] up to 65535.

    Pillow reads only the more significant byte of each value. Read in the other byte order, the less significant byte
    takes its place.
    """
    mode = _raw_mode(image)
    if mode.startswith("LA"):
        _use_raw_mode(image, "RGBA")  # four bytes per pixel: both bytes of gray, both bytes of alpha
        pairs = np.asarray(image)
        return _joined(pairs[..., ::2], pairs[..., 1::2])[..., [0, 0, 0, 1]]
    _use_raw_mode(again, mode[:-1] + _OTHER_BYTE[mode[-1]])
    return _joined(np.asarray(image), np.asarray(again))


def _joined(high: npt.NDArray[np.uint8], low: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    return np.left_shift(high, 8, dtype=np.uint16) | low


def _use_raw_mode(image: Image.Image, mode: str) -> None:
    """Makes Pillow read the pixels of an image that is not loaded yet in another layout."""
    assert isinstance(image, ImageFile.ImageFile)
    image.tile = [
        tile._replace(args=(mode, *tile.args[1:]) if isinstance(tile.args, tuple) else mode) for tile in image.tile
    ]
