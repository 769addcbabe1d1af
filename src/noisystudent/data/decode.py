"""From the bytes of an image file to pixels: any mode, nothing unsafe, no half images."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from noisystudent.errors import DataError

MAX_PIXELS = 178_000_000  # an image of more is refused unread; about what Pillow itself calls a bomb

_FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "BMP",
    "GIF",
)  # Pillow has readers for more, some of which run other programs
_WIDE_GRAY_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_GRAY_MODES = ("1", "L", "LA", *_WIDE_GRAY_MODES)


class Header(NamedTuple):
    """What an image says of itself before it is decoded; a rotation by EXIF is not applied."""

    height: int
    width: int
    gray: bool


def decode_image(encoded: bytes | npt.NDArray[np.uint8], channels: Literal[1, 3]) -> Image.Image:
    """One image with its pixels loaded: of mode L for 1 channel, RGB for 3.

    ``encoded`` is the bytes of a JPEG, PNG, WebP, BMP or GIF file (its first frame), or uint8 [H, W], [H, W,
    3]. It is turned upright by its EXIF orientation, transparency is laid on white, 16-bit gray is scaled to
    8 bit and color becomes gray by ITU-R 601 luma. Raises ``DataError`` with a short reason when the bytes
    are damaged, cut short, no image at all, or one of more than 178 million pixels.
    """
    if isinstance(encoded, np.ndarray):
        return _converted(_image_of(encoded), channels)
    with _quiet_pillow(), _reasons(), _opened(encoded) as image:
        image.load()
        return _converted(_flattened(_upright(image)), channels)


def read_header(encoded: bytes | npt.NDArray[np.uint8]) -> Header:
    """Height, width and whether the image is gray, from the head of the file alone.

    An image of three equal color channels counts as color. Raises ``DataError`` as ``decode_image`` does.
    """
    if isinstance(encoded, np.ndarray):
        return Header(encoded.shape[0], encoded.shape[1], encoded.ndim == 2)
    with _quiet_pillow(), _reasons(), _opened(encoded) as image:
        return Header(image.height, image.width, image.mode in _GRAY_MODES or _has_gray_palette(image))


def _image_of(encoded: npt.NDArray[np.uint8]) -> Image.Image:
    color = encoded.ndim == 3 and encoded.shape[2] == 3
    if encoded.dtype != np.uint8 or not (encoded.ndim == 2 or color) or not encoded.size:
        raise DataError(f"an array of {encoded.dtype} {encoded.shape}, not uint8 [H, W] or [H, W, 3]")
    return Image.fromarray(encoded)


def _opened(content: bytes) -> Image.Image:
    """The image with only its head read, of a size that is safe to decode."""
    if not content:
        raise DataError("the file is empty")
    image = Image.open(io.BytesIO(content), formats=_FORMATS)
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise DataError(f"{image.width} x {image.height} pixels, more than the {MAX_PIXELS:,} allowed")
    return image


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation asks, or as it is where that cannot be read."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF raises nearly anything, and the pixels, loaded before, are whole
        return image


def _flattened(image: Image.Image) -> Image.Image:
    """The image without transparency (laid on white) and with 8 bits a channel."""
    if image.mode in _WIDE_GRAY_MODES:
        # Pillow would clip; (v + 128) // 257 is v * 255 / 65535 rounded.
        values = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image


def _converted(image: Image.Image, channels: Literal[1, 3]) -> Image.Image:
    mode = "L" if channels == 1 else "RGB"
    if image.mode == "RGBA":
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _has_gray_palette(image: Image.Image) -> bool:
    """Whether the image has a palette of nothing but grays."""
    if image.mode != "P" or image.palette is None:
        return False
    mode, entries = image.palette.getdata()
    first, second, third = (entries[channel :: len(mode)] for channel in range(3))
    return first == second == third


@contextmanager
def _reasons() -> Iterator[None]:
    """Turns whatever Pillow raises into a ``DataError`` with a short reason."""
    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError as error:  # its own message holds a memory address
        raise DataError("not a JPEG, PNG, WebP, BMP or GIF image, or its head is damaged") from error
    except Exception as error:  # Pillow's readers raise nearly anything on damaged bytes
        raise DataError(f"damaged or unsafe: {error or type(error).__name__}") from error


_quiet_lock = threading.Lock()
_quiet_stack = ExitStack()
_quiet_users = 0


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Silences warnings (odd EXIF, large images) while any thread decodes.

    ``warnings.catch_warnings`` changes the filters of the whole process, so threads that overlap must share
    one.
    """
    global _quiet_users
    with _quiet_lock:
        if _quiet_users == 0:
            _quiet_stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        _quiet_users += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_users -= 1
            if _quiet_users == 0:
                _quiet_stack.close()
