"""Custom noise: any callable on batches of images, such as a torchvision v2 transform."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable

import torch
from torch import Tensor

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


def describe(function: BatchTransform) -> str:
    """Returns a line that identifies a callable among the inputs of a stage: its name and a digest of its definition.

    The definition is the source of a function. For an object it is the source of its class and its ``repr``, if that
    shows parameters (as for torchvision transforms and torch modules). Values that a function reads from elsewhere are
    not included.
    """
    is_function = inspect.isfunction(function) or inspect.ismethod(function) or inspect.isbuiltin(function)
    definition = function if is_function else type(function)
    try:
        content = inspect.getsource(definition)
    except (OSError, TypeError):
        content = ""
    text = repr(function)
    if not is_function and not re.search(r" at 0x[0-9a-f]+>", text):
        content += text
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return f"{definition.__module__}.{definition.__qualname__}#{digest}"
