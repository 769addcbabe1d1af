"""ImageMagick's motion blur from its formulas."""

import math

import numpy as np


def imagemagick_blur(values: np.ndarray, degrees: float, radius: float, sigma: float) -> np.ndarray:
    """ImageMagick's motion blur of values [S, S, C], one offset after another."""
    size, width = len(values), int(2 * math.ceil(radius) + 1)
    kernel = np.array(
        [math.exp(-(step**2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma) for step in range(width)]
    )
    kernel /= kernel.sum()
    rows, columns = np.mgrid[:size, :size]
    total = np.zeros_like(values)
    for step, weight in enumerate(kernel):
        x = math.ceil(step * math.cos(math.radians(degrees)) - 0.5)
        y = math.ceil(step * math.sin(math.radians(degrees)) - 0.5)
        total += weight * values[(rows + y).clip(0, size - 1), (columns + x).clip(0, size - 1)]
    return total
