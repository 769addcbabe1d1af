"""Color conversions with Python's own implementation."""

import colorsys

import numpy as np


def through_hsv(image: np.ndarray, change) -> np.ndarray:
    """Applies ``change`` to hue, saturation and value, pixel by pixel."""
    flat = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*color))) for color in image.reshape(-1, 3).tolist()]
    return np.array(flat).reshape(image.shape)
