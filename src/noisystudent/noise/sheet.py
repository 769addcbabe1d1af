"""Views of a few images under noise, side by side, so that people can see whether the label survives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noisystudent.data.images import ImageFormat, Images
from noisystudent.noise.augmix import LARGEST_LEVEL, apply_augmix
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.crop import PlainView
from noisystudent.noise.input import InputNoise
from noisystudent.noise.policies import POLICIES, Distances
from noisystudent.noise.settings import AUGMIX_OPERATIONS, LARGEST_MAGNITUDE, NoiseSettings
from noisystudent.noise.views import noised

PLAIN = "plain"


@dataclass(frozen=True, eq=False)
class NoiseSheet:
    """A table of views: one row per image, named columns, cells uint8 [rows, columns, S, S, C]."""

    columns: tuple[str, ...]
    cells: npt.NDArray[np.uint8]


def strengths_sheet(images: Images, settings: NoiseSettings, *, format: ImageFormat, rng: CounterRng) -> NoiseSheet:
    """Returns the images without noise and at every strength of ``settings.strengths``.

    The columns of a row use the same random numbers.

    Args:
        images: the images, one per row.
        settings: the noise settings.
        format: the format of the images.
        rng: the random numbers.
    """
    size, storage_size, crop = format.size, format.storage_size, format.crop
    columns = {PLAIN: _plain(images, size, crop)}
    rows = torch.arange(len(images))
    for strength in settings.strengths:
        noise = InputNoise(settings, size=size, strength=strength, rng=rng, storage_size=storage_size, crop=crop)
        columns[f"strength {strength:g}"] = _noised(images, noise, 0, rows)
    return _sheet(columns)


def operations_sheet(
    images: Images, settings: NoiseSettings, *, format: ImageFormat, strength: float, rng: CounterRng
) -> NoiseSheet:
    """Returns the images without noise and after every single operation of the policy.

    Args:
        images: the images, one per row.
        settings: the noise settings.
        format: the format of the images.
        strength: strength of the noise, 0 to 2.
        rng: the random numbers.
    """
    plain = _plain(images, format.size, format.crop)
    names, change = _operations(settings, format.size, strength * settings.magnitude)
    columns = {PLAIN: plain}
    for number, name in enumerate(dict.fromkeys(settings.operations or names)):
        uniforms = rng.uniform(torch.full((len(plain),), number), torch.arange(len(plain)), 3)
        columns[name] = change(name, plain, uniforms)
    return _sheet(columns)


def _operations(
    settings: NoiseSettings, size: int, magnitude: float
) -> tuple[tuple[str, ...], Callable[[str, Tensor, Tensor], Tensor]]:
    """The names of a policy's operations, and a function that applies one to images with uniform numbers."""
    if settings.policy == "augmix":
        level = min(magnitude, LARGEST_LEVEL)
        return AUGMIX_OPERATIONS, lambda name, pixels, uniforms: apply_augmix(name, pixels, level, uniforms[:, 0] < 0.5)
    policy, magnitude = POLICIES[settings.policy], min(magnitude, LARGEST_MAGNITUDE)
    distances = Distances(settings.translation, settings.cutout)
    if settings.pixel_reference:
        distances = distances.scaled(size / settings.pixel_reference)
    return policy.operations, lambda name, pixels, uniforms: policy.apply(name, pixels, magnitude, uniforms, distances)


def draws_sheet(images: Images, noise: InputNoise, rows: npt.NDArray[np.int64], epochs: int) -> NoiseSheet:
    """Returns the images without noise and under ``noise`` in its first epochs.

    Args:
        images: the images, one per row.
        noise: the noise.
        rows: index of every image for the random numbers, int64 [N].
        epochs: number of epochs.
    """
    columns = {PLAIN: _plain(images, noise.size, noise.crop)}
    for epoch in range(epochs):
        columns[f"epoch {epoch + 1}"] = _noised(images, noise, epoch, torch.from_numpy(rows))
    return _sheet(columns)


def _plain(images: Images, size: int, crop: float | None) -> Tensor:
    sizes = torch.from_numpy(images.sizes.astype(np.int64))
    return PlainView(size, crop)(torch.from_numpy(images.pixels), sizes)


def _noised(images: Images, noise: InputNoise, epoch: int, rows: Tensor) -> Tensor:
    return torch.from_numpy(noised(images, noise, epoch=epoch, index=rows).pixels)


def _sheet(columns: dict[str, Tensor]) -> NoiseSheet:
    cells = torch.stack(list(columns.values()), dim=1)
    return NoiseSheet(tuple(columns), cells.permute(0, 1, 3, 4, 2).numpy())
