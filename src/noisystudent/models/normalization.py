"""Normalization: from 8-bit pixels to the input of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Normalization:
    """Mean and standard deviation per channel, for pixels scaled to 0..1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        assert len(self.mean) == len(self.std)
        assert all(value > 0 for value in self.std)

    @classmethod
    def halves(cls, channels: int) -> Self:
        """Mean and standard deviation 0.5 per channel, which maps pixels to -1..1, for training from scratch."""
        return cls((0.5,) * channels, (0.5,) * channels)

    @classmethod
    def published(cls, mean: Sequence[float], std: Sequence[float], channels: int) -> Self:
        """The mean and standard deviation of published weights, averaged for a different number of channels."""
        if len(mean) != channels:
            mean = (sum(mean) / len(mean),) * channels
            std = (sum(std) / len(std),) * channels
        return cls(tuple(map(float, mean)), tuple(map(float, std)))


class Normalize(nn.Module):
    """``(pixels / 255 - mean) / std`` per channel: uint8 [B, C, H, W] to float32 [B, C, H, W].

    Pixels may also be float32 in 0..255, so that an attack can follow the gradient back to them.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, normalization: Normalization) -> None:
        super().__init__()
        mean = torch.tensor(normalization.mean, dtype=torch.float64)[None, :, None, None]
        std = torch.tensor(normalization.std, dtype=torch.float64)[None, :, None, None]
        # Not saved with the weights: timm accepts only the network's tensors, and config.json has the values.
        self.register_buffer("scale", (1 / (255 * std)).float(), persistent=False)
        self.register_buffer("shift", (-mean / std).float(), persistent=False)

    @property
    def device(self) -> torch.device:
        """The device of the pixels."""
        return self.scale.device

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns the normalized pixels."""
        return torch.addcmul(self.shift, pixels.float(), self.scale)
