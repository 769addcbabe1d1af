"""Two things done to uint8 pictures for which torch's own way is several times slower on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor


def to_bytes(values: Tensor) -> Tensor:
    """The float32 ``values`` clipped to 0..255, their fraction cut off, as uint8; ``values`` are overwritten."""
    # The conversion to int16 is vectorized, the one from float32 straight to uint8 is not: 4 times slower.
    return values.clamp_(0.0, 255.0).to(torch.int16).to(torch.uint8)


def choose(chosen: Tensor, changed: Tensor, unchanged: Tensor) -> Tensor:
    """The pictures ``[B, C, H, W]`` of ``changed`` where the boolean ``chosen`` ``[B]`` is true, else the others."""
    # A byte mask is vectorized, torch.where on bytes is not: 5 to 20 times slower.
    mask = (chosen.to(unchanged.device, torch.uint8) * 255)[:, None, None, None]
    return unchanged ^ ((unchanged ^ changed) & mask)
