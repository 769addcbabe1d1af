"""Custom noise: any callable on batches of images, such as a torchvision v2 transform."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from noisystudent.artifacts.callables import describe
from noisystudent.errors import SettingsError
from noisystudent.random_streams import stream_key
from noisystudent.runtime.device import seeded

BatchTransform = Callable[[Tensor], Tensor]
"""A function from noised images uint8 [B, C, S, S] to images of the same type and shape.

It may draw random numbers from torch's global generator, which is seeded before every call.
"""


class CustomAugmentation:
    """A user's callable, seeded anew for every step, so that a resumed stage trains on the same images.

    Unlike the noise of this package, its random numbers depend on the batch.

    Args:
        function: the callable.
        seed: seed of the stage.
    """

    def __init__(self, function: BatchTransform, *, seed: int) -> None:
        self._function = function
        self._seed = seed

    def __call__(self, pixels: Tensor, step: int) -> Tensor:
        """Returns the batch of 0-based ``step``, changed by the callable.

        Raises:
            SettingsError: the callable returns anything but uint8 images of the same shape.
        """
        with seeded(stream_key(self._seed, "own-noise", step), pixels.device):
            changed = self._function(pixels)
        if not isinstance(changed, Tensor) or changed.dtype != torch.uint8 or changed.shape != pixels.shape:
            result = f"{changed.dtype} {list(changed.shape)}" if isinstance(changed, Tensor) else type(changed).__name__
            raise SettingsError(
                f"the custom noise {describe(self._function)} returned {result} for images uint8 "
                f"{list(pixels.shape)}; it must return uint8 images of the same shape."
            )
        return changed
