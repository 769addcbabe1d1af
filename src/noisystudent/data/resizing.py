"""Resizes an image to the edge at which it is stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

_MAX_ASPECT = 1.5
_SMALL_AREA = 96 * 96  # pixels of an image that BiT calls small


def squashed_size(areas: Sequence[int]) -> int:
    """BiT's input edge for images of ``areas`` in pixels: 128 below 96 x 96, else 480 (Kolesnikov et al. 2020)."""
    return 128 if np.median(areas) < _SMALL_AREA else 480


def squash(image: Image.Image, edge: int) -> Image.Image:
    """The whole of ``image`` with both edges resized to ``edge``, out of proportion."""
    return image if image.size == (edge, edge) else image.resize((edge, edge), Image.Resampling.BICUBIC)


def crop_and_resize(image: Image.Image, edge: int) -> Image.Image:
    """The center of ``image`` with its short edge resized to ``edge``.

    Cropping comes first, because resizing an image of 1 x 100,000 pixels would exceed all memory.
    """
    short_edge = min(image.size)
    left, top, width, height = _center_box(image.width, image.height, int(_MAX_ASPECT * short_edge))
    if (width, height) != image.size:
        image = image.crop((left, top, left + width, top + height))
    if short_edge == edge:
        return image
    longest = int(_MAX_ASPECT * edge)
    target = [min(longest, max(edge, round(length * edge / short_edge))) for length in (width, height)]
    return image.resize((target[0], target[1]), Image.Resampling.BICUBIC)


def _center_box(width: int, height: int, longest: int) -> tuple[int, int, int, int]:
    """Left, top, width and height of the central box with no edge longer than ``longest``."""
    box_width, box_height = min(width, longest), min(height, longest)
    return (width - box_width) // 2, (height - box_height) // 2, box_width, box_height
