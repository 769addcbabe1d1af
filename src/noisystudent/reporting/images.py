"""Images as data URIs, so that the page needs no other file."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from noisystudent.errors import DataError

MIN_EDGE = 64  # pixels; smaller images are enlarged by a whole factor to at least this
MAX_EDGE = 128  # pixels; larger images are reduced to this
QUALITY = 80  # of a JPEG image: without visible faults at this size


def data_uri(pixels: npt.NDArray[np.uint8]) -> str:
    """Converts an image to a ``data:`` URI: PNG for a small image, else JPEG.

    An image whose longer edge is below 64 pixels is enlarged by a whole factor with sharp pixels; one whose longer edge
    is above 128 pixels is reduced to 128.

    Args:
        pixels: the image, uint8 [H, W], [H, W, 1] or [H, W, 3].

    Returns:
        The URI.

    Raises:
        DataError: the image has another shape or type.
    """
    gray = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    color = gray.ndim == 3 and gray.shape[2] == 3
    if pixels.dtype != np.uint8 or not (gray.ndim == 2 or color) or gray.size == 0:
        raise DataError(
            f"an image of type {pixels.dtype} and shape {list(pixels.shape)} cannot be shown; make it uint8 [H, W], "
            "[H, W, 1] or [H, W, 3]."
        )
    image = Image.fromarray(np.ascontiguousarray(gray))
    stream = io.BytesIO()
    if max(image.size) < MIN_EDGE:
        _resize(image).save(stream, format="PNG", optimize=True)
        return png_uri(stream.getvalue())
    _resize(image).save(stream, format="JPEG", quality=QUALITY, optimize=True)
    return jpeg_uri(stream.getvalue())


def png_uri(png: bytes) -> str:
    """Converts the bytes of a PNG file to a ``data:`` URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def jpeg_uri(jpeg: bytes) -> str:
    """Converts the bytes of a JPEG file to a ``data:`` URI."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _resize(image: Image.Image) -> Image.Image:
    edge = max(image.size)
    if edge < MIN_EDGE:
        factor = -(-MIN_EDGE // edge)
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    if edge > MAX_EDGE:
        scale = MAX_EDGE / edge
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        return image.resize(size, Image.Resampling.LANCZOS)
    return image
