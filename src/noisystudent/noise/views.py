"""Views of images as images: what noise makes of them, to store, to label or to show again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from noisystudent.data.images import Images
from noisystudent.noise.input import InputNoise

_AT_ONCE = 256


def noised(images: Images, noise: InputNoise, *, epoch: int, index: Tensor | None = None) -> Images:
    """The images as a student sees them, each by its own draw: pixels uint8 [N, C, S, S], all else as it was.

    A draw is its address, ``epoch`` and ``index`` (int64 [N]; the place among the images unless said), under the
    seed and stream of ``noise``: whoever stores these numbers can see the same view again, at any time, in any batch
    and, with a noise of another size, at another resolution.
    """
    index = torch.arange(len(images)) if index is None else index
    views = [_view(images, noise, epoch, index, first) for first in range(0, len(images), _AT_ONCE)]
    empty = torch.zeros((0, images.pixels.shape[1], noise.size, noise.size), dtype=torch.uint8)
    sizes = np.full_like(images.sizes, noise.size)
    return replace(images, pixels=torch.cat([empty, *views]).numpy(), sizes=sizes)


def _view(images: Images, noise: InputNoise, epoch: int, index: Tensor, first: int) -> Tensor:
    some = slice(first, first + _AT_ONCE)
    pixels, sizes = torch.from_numpy(images.pixels[some]), torch.from_numpy(images.sizes[some].astype(np.int64))
    return noise(pixels, sizes, torch.full_like(index[some], epoch), index[some])
