"""Images as data URIs, so that the page holds all that it shows."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from noisystudent.errors import DataError

SMALLEST_EDGE = 64  # tiny images are enlarged by a whole factor to at least this
LARGEST_EDGE = 112


def data_uri(pixels: npt.NDArray[np.uint8]) -> str:
    """A PNG ``data:`` URI of a uint8 image [H, W], [H, W, 1] or [H, W, 3].

    Images whose longer edge is below 64 are enlarged by a whole factor with every pixel kept sharp; those
    above 112 are reduced to it. Raises ``DataError`` for any other shape or type.
    """
    gray = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    color = gray.ndim == 3 and gray.shape[2] == 3
    if pixels.dtype != np.uint8 or not (gray.ndim == 2 or color) or gray.size == 0:
        raise DataError(
            f"An image of type {pixels.dtype} and shape {list(pixels.shape)} cannot be shown: "
            "uint8 [H, W], [H, W, 1] or [H, W, 3] is needed."
        )
    image = _resized(Image.fromarray(np.ascontiguousarray(gray)))
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return png_uri(stream.getvalue())


def png_uri(png: bytes) -> str:
    """A ``data:`` URI of the bytes of a PNG file."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _resized(image: Image.Image) -> Image.Image:
    edge = max(image.size)
    if edge < SMALLEST_EDGE:
        factor = -(-SMALLEST_EDGE // edge)
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    if edge > LARGEST_EDGE:
        scale = LARGEST_EDGE / edge
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        return image.resize(size, Image.Resampling.LANCZOS)
    return image
