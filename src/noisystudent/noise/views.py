"""Noised views of images, as images that can be stored, labeled or shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from noisystudent.data.images import Images
from noisystudent.noise.input import InputNoise

_BATCH_SIZE = 256


def noised(images: Images, noise: InputNoise, *, epoch: int, index: Tensor | None = None) -> Images:
    """Returns the images as a student sees them, pixels uint8 [N, C, S, S]; all else is unchanged.

    A view depends on ``epoch`` and ``index`` and on the seed and stream of ``noise`` alone. From these numbers, the
    same view can be computed again at any time, in any batch and, with a noise of another size, at another resolution.

    Args:
        images: the images.
        noise: the noise.
        epoch: epoch of the views.
        index: index of every image, int64 [N]; by default its position in ``images``.
    """
    index = torch.arange(len(images)) if index is None else index
    views = [_view(images, noise, epoch, index, first) for first in range(0, len(images), _BATCH_SIZE)]
    empty = torch.zeros((0, images.pixels.shape[1], noise.size, noise.size), dtype=torch.uint8)
    sizes = np.full_like(images.sizes, noise.size)
    return replace(images, pixels=torch.cat([empty, *views]).numpy(), sizes=sizes)


def _view(images: Images, noise: InputNoise, epoch: int, index: Tensor, first: int) -> Tensor:
    rows = slice(first, first + _BATCH_SIZE)
    pixels, sizes = torch.from_numpy(images.pixels[rows]), torch.from_numpy(images.sizes[rows].astype(np.int64))
    return noise(pixels, sizes, torch.full_like(index[rows], epoch), index[rows])
