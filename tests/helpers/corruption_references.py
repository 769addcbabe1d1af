"""What the corruptions are held against: images, the draws of an image, and the published formulas in NumPy.

The formulas are written image by image in float64, channels last, after Hendrycks and Dietterich's generator, and
take the random numbers of the image that they are compared with.
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
    made = []
    for _ in range(count):
        coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)).astype(int)
        image = np.clip(smooth + random.integers(-6, 7, smooth.shape), 0, 255).astype(np.uint8)
        edge = size // 4
        image[:edge, :edge], image[:edge, -edge:], image[-edge:, :edge] = 0, 255, 119
        made.append(image)
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2)[:, :channels].contiguous()


def uniforms(name: str, severity: int, index: int, count: int) -> np.ndarray:
    """The first numbers of the sequence of an image, in [0, 1)."""
    rng = CounterRng(SEED, f"corruption/{name}/{severity}")
    return rng.uniform(torch.zeros(1, dtype=torch.int64), torch.tensor([index]), count)[0].numpy().astype(np.float64)


def normals(numbers: np.ndarray) -> np.ndarray:
    """Uniform numbers, multiples of 2^-24, as normal ones."""
    return ndtri(numbers + 2.0**-25)


def as_image(pixels: torch.Tensor) -> np.ndarray:
    """One image of a batch, float64 [S, S, C] from 0 to 1."""
    return pixels.permute(1, 2, 0).numpy() / 255


def as_bytes(values: np.ndarray) -> np.ndarray:
    """[S, S, C] or [S, S] from 0 to 1, as the generator stores it: clipped, and cut off."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def assert_close(given: torch.Tensor, expected: np.ndarray, *, apart: float = 0.01) -> None:
    """One image [C, S, S] against one [S, S, C], no level more than one off, and few of them.

    Cutting off the fraction makes a level of difference from the smallest one in the numbers: where the exact value is
    a whole level, float64 itself comes out above it or below. Also, 2^-12 of all values lie so little below a whole
    level that the package takes them for it. ``apart`` is the share of values that may differ.
    """
    difference = np.abs(given.permute(1, 2, 0).numpy().astype(int) - expected.reshape(given.permute(1, 2, 0).shape))
    assert difference.max() <= 1
    assert (difference > 0).mean() <= apart
