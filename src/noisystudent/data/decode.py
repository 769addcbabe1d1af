"""Decodes image files safely: any color mode, bounded size, no partly decoded images."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from noisystudent.data.formats import NAMES, ending_of, pillow_formats, register_heif
from noisystudent.data.jpeg import with_end_marker
from noisystudent.data.wide import WIDE_GRAY_MODES, is_wide, largest_color, load_wide_color, to_eight_bits
from noisystudent.errors import DataError

MAX_PIXELS = 178_000_000  # larger images are refused before decoding; about Pillow's own limit for a bomb

_GRAY_MODES = ("1", "L", "LA", *WIDE_GRAY_MODES)


class Header(NamedTuple):
    """An image file's size and color, read without decoding it; the EXIF orientation is not applied."""

    height: int
    width: int
    gray: bool


def decode_image(
    encoded: bytes | npt.NDArray[np.uint8], channels: Literal[1, 3], *, bits: int | None = None
) -> Image.Image:
    """Decodes one image to mode L for 1 channel or RGB for 3.

    The image is rotated by its EXIF orientation; transparency is composited on white; images with 16 bits per channel
    are scaled to 8 bits; color becomes gray by ITU-R 601 luma.

    Args:
        encoded: the bytes of an image file of one of the formats in ``formats.py`` (its first frame or page counts), or
            an array, uint8 [H, W] or [H, W, 3].
        channels: 1 for gray, 3 for RGB.
        bits: how many of its 16 bits an image with 16 bits per channel uses, one of ``wide.DEPTHS``; larger values
            become white. None: as many as this image needs.

    Raises:
        DataError: with a short reason, if the bytes are damaged, cut short or not an image, or if the image has more
            than 178 million pixels.
    """
    if isinstance(encoded, np.ndarray):
        return _to_channels(_from_array(encoded), channels)
    with _quiet_pillow(), _short_reasons(), _open_checked(encoded) as image:
        if image.format == "JPEG":
            return _load_jpeg(image, encoded, channels)
        if is_wide(image) and image.mode not in WIDE_GRAY_MODES:
            with _open_checked(encoded) as again:
                image = load_wide_color(image, again, bits)
        return _load(image, channels, bits)


def convert_image(image: Image.Image, channels: Literal[1, 3], *, bits: int | None = None) -> npt.NDArray[np.uint8]:
    """Returns the pixels of an open image, uint8 [H, W] for 1 channel or [H, W, 3] for 3, as ``decode_image`` sees it.

    Raises ``DataError`` with a short reason if its file is damaged or cut short.
    """
    with _quiet_pillow(), _short_reasons():
        return np.asarray(_load(image, channels, bits), dtype=np.uint8)


def largest_wide_value(encoded: bytes | npt.NDArray[np.uint8]) -> int | None:
    """The largest color value, 0 to 65535, of an image with 16 bits per channel; None for any other.

    Only images with 16 bits per channel are decoded. An unreadable image gives None.
    """
    if isinstance(encoded, np.ndarray) or ending_of(encoded) not in ("png", "tif", "pnm"):
        return None
    with suppress(DataError), _quiet_pillow(), _short_reasons(), _open_checked(encoded) as image:
        if is_wide(image):
            with _open_checked(encoded) as again:
                return largest_color(image, again)
    return None


def _load_jpeg(image: Image.Image, content: bytes, channels: Literal[1, 3]) -> Image.Image:
    try:
        return _load(image, channels, None)
    except OSError:
        whole = None
        with suppress(Exception):  # damage of any kind: the first error says more
            whole = with_end_marker(content)
        if whole is None:
            raise
    with _open_checked(whole) as image:
        return _load(image, channels, None)


def _load(image: Image.Image, channels: Literal[1, 3], bits: int | None) -> Image.Image:
    image.load()
    return _to_channels(_to_eight_bit_opaque(_apply_orientation(image), bits), channels)


def read_header(encoded: bytes | npt.NDArray[np.uint8]) -> Header:
    """Reads the height, the width and whether the image is gray, from the header of the file only.

    An image with three equal color channels counts as color. Raises ``DataError`` as ``decode_image`` does.
    """
    if isinstance(encoded, np.ndarray):
        return Header(encoded.shape[0], encoded.shape[1], encoded.ndim == 2)
    with _quiet_pillow(), _short_reasons(), _open_checked(encoded) as image:
        return Header(image.height, image.width, image.mode in _GRAY_MODES or _has_gray_palette(image))


def _from_array(encoded: npt.NDArray[np.uint8]) -> Image.Image:
    is_color = encoded.ndim == 3 and encoded.shape[2] == 3
    if encoded.dtype != np.uint8 or not (encoded.ndim == 2 or is_color) or not encoded.size:
        raise DataError(f"an array of {encoded.dtype} {encoded.shape}, not uint8 [H, W] or [H, W, 3]")
    return Image.fromarray(encoded)


def _open_checked(content: bytes) -> Image.Image:
    """The image with only its header read, if its size is safe to decode."""
    if not content:
        raise DataError("the file is empty")
    image = Image.open(io.BytesIO(content), formats=_formats_for(content))
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise DataError(f"{image.width} x {image.height} pixels, more than the {MAX_PIXELS:,} allowed")
    return image


def _formats_for(content: bytes) -> tuple[str, ...]:
    if ending_of(content) != "heic":
        return pillow_formats()
    if problem := register_heif():
        raise DataError(problem)
    return ("HEIF",)


def _apply_orientation(image: Image.Image) -> Image.Image:
    """The image rotated by its EXIF orientation, or unchanged if that cannot be read."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF raises nearly any error, and the pixels are already complete
        return image


def _to_eight_bit_opaque(image: Image.Image, bits: int | None) -> Image.Image:
    """The image with transparency composited on white, and with 8 bits per channel."""
    if image.mode in WIDE_GRAY_MODES:
        return Image.fromarray(to_eight_bits(np.asarray(image), bits))
    if image.mode == "F":
        raise DataError("its pixels are floating-point numbers: save it with 8 or 16 bits per channel")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image


def _to_channels(image: Image.Image, channels: Literal[1, 3]) -> Image.Image:
    mode = "L" if channels == 1 else "RGB"
    if image.mode == "RGBA":
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _has_gray_palette(image: Image.Image) -> bool:
    """Whether the image has a palette with gray colors only."""
    if image.mode != "P" or image.palette is None:
        return False
    mode, entries = image.palette.getdata()
    red, green, blue = (entries[channel :: len(mode)] for channel in range(3))
    return red == green == blue


@contextmanager
def _short_reasons() -> Iterator[None]:
    """Turns any error of Pillow into a ``DataError`` with a short reason."""
    try:
        yield
    except DataError:
        raise
    except UnidentifiedImageError as error:  # its own message contains a memory address
        raise DataError(f"not a {NAMES} image, or its header is damaged") from error
    except Exception as error:  # Pillow's readers raise nearly any error on damaged bytes
        raise DataError(f"damaged or unsafe: {error or type(error).__name__}") from error


_quiet_lock = threading.Lock()
_quiet_stack = ExitStack()
_quiet_users = 0


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Silences Pillow's warnings (odd EXIF, large images) while any thread decodes.

    ``warnings.catch_warnings`` changes the filters of the whole process, so concurrent threads must share one.
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
