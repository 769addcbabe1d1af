"""The views of the resolution fix: almost those of the test (Touvron et al. 2019, second released version)."""

from __future__ import annotations

import torch
from torch import Tensor

from noisystudent.noise.color import brightness, contrast, saturation
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.crop import edge_of_view, flip, resize_views, shifted_crop

_JITTER = 0.05
_SHIFT, _FLIP, _COLORS = 0, 1, slice(2, 5)  # positions of the random numbers


class ShiftedView:
    """The view of the test, shifted along the width, flipped with probability 0.5, with slightly changed colors.

    Brightness, contrast and saturation are changed one after another, each by a factor from 0.95 to 1.05; in the
    released code their order is random, which matters little for factors so close to 1.

    Args:
        size: the model's input edge in pixels.
        crop: the share of an image's short edge that the view shows; None: ``size`` of ``size`` + 32 pixels.
        rng: the random numbers.
    """

    def __init__(self, size: int, crop: float | None, rng: CounterRng) -> None:
        self.size, self.crop, self.rng, self.strength = size, crop, rng, 1.0

    def __call__(self, pixels: Tensor, sizes: Tensor, epoch: Tensor, index: Tensor) -> Tensor:
        """Returns views uint8 [B, C, size, size]; the arguments are those of ``InputNoise``."""
        uniforms = self.rng.uniform(epoch, index, 5)
        edge = edge_of_view(self.size, int(sizes.min()), self.crop)
        spare = sizes[:, 1].cpu() - edge  # columns that the view leaves out
        left = (uniforms[:, _SHIFT].cpu() * (spare + 1)).to(torch.int64)
        shift = torch.stack((torch.zeros_like(left), left - spare.div(2, rounding_mode="floor")), dim=1)
        views = resize_views(shifted_crop(pixels, sizes, shift, edge), self.size)
        views = flip(views, uniforms[:, _FLIP] < 0.5)
        factors = 1 - _JITTER + 2 * _JITTER * uniforms[:, _COLORS].to(pixels.device)
        for change, factor in zip((brightness, contrast, saturation), factors.unbind(1), strict=True):
            views = change(views, factor[:, None, None, None])
        return views
