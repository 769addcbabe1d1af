"""References for the corruptions: test images, the random numbers of an image, and comparisons.

The published formulas in the tests work on one image in float64, channels last, as in Hendrycks and Dietterich's
generator, with the random numbers of the image that they are compared with.
"""

import numpy as np
import torch
from PIL import Image
from scipy.special import ndtri

from noisystudent.noise.counter_rng import CounterRng

SEED = 11


def images(count: int, size: int, channels: int = 3) -> torch.Tensor:
    """Smooth color images with grain, black, white and flat gray areas, uint8 [count, channels, size, size]."""
    random = np.random.default_rng(size)
    result = []
    for _ in range(count):
        coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)).astype(int)
        image = np.clip(smooth + random.integers(-6, 7, smooth.shape), 0, 255).astype(np.uint8)
        edge = size // 4
        image[:edge, :edge], image[:edge, -edge:], image[-edge:, :edge] = 0, 255, 119
        result.append(image)
    return torch.from_numpy(np.stack(result)).permute(0, 3, 1, 2)[:, :channels].contiguous()


def uniforms(name: str, severity: int, index: int, count: int) -> np.ndarray:
    """The first ``count`` random numbers of an image, in [0, 1)."""
    rng = CounterRng(SEED, f"corruption/{name}/{severity}")
    return rng.uniform(torch.zeros(1, dtype=torch.int64), torch.tensor([index]), count)[0].numpy().astype(np.float64)


def normals(numbers: np.ndarray) -> np.ndarray:
    """Converts uniform numbers, multiples of 2^-24, to normal ones."""
    return ndtri(numbers + 2.0**-25)


def as_image(pixels: torch.Tensor) -> np.ndarray:
    """One image of a batch, float64 [S, S, C] from 0 to 1."""
    return pixels.permute(1, 2, 0).numpy() / 255


def as_bytes(values: np.ndarray) -> np.ndarray:
    """Converts [S, S, C] or [S, S] from 0 to 1 to bytes as the generator does: clipped and truncated."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def assert_close(given: torch.Tensor, expected: np.ndarray, *, apart: float = 0.01) -> None:
    """Compares an image [C, S, S] with one [S, S, C]: no value differs by more than one level, and only a few differ.

    Truncation turns the smallest numerical difference into a level: if the exact value is a whole level, float64 may
    be slightly above or below it. Also, 2^-12 of all values are so close below a whole level that the package rounds
    them up. ``apart`` is the fraction of values that may differ.
    """
    difference = np.abs(given.permute(1, 2, 0).numpy().astype(int) - expected.reshape(given.permute(1, 2, 0).shape))
    assert difference.max() <= 1
    assert (difference > 0).mean() <= apart
