"""A user's own noise: any callable on batches of images, such as a torchvision v2 transform."""

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
"""From noised images uint8 [B, C, S, S] to others of the same type and shape; torch's generator is seeded for it."""


class CustomAugmentation:
    """A user's callable with a seed of its own for every step, so that a resumed stage sees the same images.

    Unlike the noise of this package its draws depend on the batch. Raises ``SettingsError`` when the callable gives
    back anything but uint8 images of the same shape.
    """

    def __init__(self, function: BatchTransform, *, seed: int) -> None:
        self._function = function
        self._seed = seed

    def __call__(self, pixels: Tensor, step: int) -> Tensor:
        """The batch of 0-based ``step`` changed by the callable."""
        with seeded(stream_key(self._seed, "own-noise", step), pixels.device):
            changed = self._function(pixels)
        if not isinstance(changed, Tensor) or changed.dtype != torch.uint8 or changed.shape != pixels.shape:
            given = f"{changed.dtype} {list(changed.shape)}" if isinstance(changed, Tensor) else type(changed).__name__
            raise SettingsError(
                f"the noise that was given, {describe(self._function)}, returned {given} for images uint8 "
                f"{list(pixels.shape)}; it must return uint8 of the same shape."
            )
        return changed


def describe(function: BatchTransform) -> str:
    """A line that identifies a callable among the inputs of a stage: its name, and a digest of what it is made of.

    That is the source of a function, or an object's class and its ``repr`` where that shows its parameters (as those
    of torchvision and torch modules do). What a function reads from elsewhere is not seen.
    """
    plain = inspect.isfunction(function) or inspect.ismethod(function) or inspect.isbuiltin(function)
    subject = function if plain else type(function)
    try:
        content = inspect.getsource(subject)
    except (OSError, TypeError):
        content = ""
    shown = repr(function)
    if not plain and not re.search(r" at 0x[0-9a-f]+>", shown):
        content += shown
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return f"{subject.__module__}.{subject.__qualname__}#{digest}"
