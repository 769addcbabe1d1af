"""Views of pictures as pictures: what noise makes of them, to store, to label or to show again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from noisystudent.data.images import Pictures
from noisystudent.noise.input import InputNoise

_AT_ONCE = 256


def noised(pictures: Pictures, noise: InputNoise, *, epoch: int, index: Tensor | None = None) -> Pictures:
    """The pictures as a student sees them, each by its own draw: pixels uint8 [N, C, S, S], all else as it was.

    A draw is its address, ``epoch`` and ``index`` (int64 [N]; the place among the pictures unless said), under the
    seed and stream of ``noise``: whoever stores these numbers can see the same view again, at any time, in any batch
    and, with a noise of another size, at another resolution.
    """
    index = torch.arange(len(pictures)) if index is None else index
    views = [_view(pictures, noise, epoch, index, first) for first in range(0, len(pictures), _AT_ONCE)]
    empty = torch.zeros((0, pictures.pixels.shape[1], noise.size, noise.size), dtype=torch.uint8)
    sizes = np.full_like(pictures.sizes, noise.size)
    return replace(pictures, pixels=torch.cat([empty, *views]).numpy(), sizes=sizes)


def _view(pictures: Pictures, noise: InputNoise, epoch: int, index: Tensor, first: int) -> Tensor:
    some = slice(first, first + _AT_ONCE)
    pixels, sizes = torch.from_numpy(pictures.pixels[some]), torch.from_numpy(pictures.sizes[some].astype(np.int64))
    return noise(pixels, sizes, torch.full_like(index[some], epoch), index[some])
