"""Views of a few images under noise, side by side, for a person to see whether the label survives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noisystudent.data.images import Images
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
    """Rows of images and named columns of their views: cells uint8 [rows, columns, S, S, C]."""

    columns: tuple[str, ...]
    cells: npt.NDArray[np.uint8]


def strengths_sheet(
    images: Images, settings: NoiseSettings, *, size: int, storage_size: int, rng: CounterRng
) -> NoiseSheet:
    """The images without noise and at each of ``settings.strengths``; a row's columns share their draws."""
    columns = {PLAIN: _plain(images, size)}
    rows = torch.arange(len(images))
    for strength in settings.strengths:
        noise = InputNoise(settings, size=size, strength=strength, rng=rng, storage_size=storage_size)
        columns[f"strength {strength:g}"] = _noised(images, noise, 0, rows)
    return _sheet(columns)


def operations_sheet(
    images: Images, settings: NoiseSettings, *, size: int, strength: float, rng: CounterRng
) -> NoiseSheet:
    """The images without noise and after each of the policy's operations, one at a time, at ``strength``."""
    plain = _plain(images, size)
    names, change = _operations(settings, size, strength * settings.magnitude)
    columns = {PLAIN: plain}
    for number, name in enumerate(dict.fromkeys(settings.operations or names)):
        chances = rng.uniform(torch.full((len(plain),), number), torch.arange(len(plain)), 3)
        columns[name] = change(name, plain, chances)
    return _sheet(columns)


def _operations(
    settings: NoiseSettings, size: int, magnitude: float
) -> tuple[tuple[str, ...], Callable[[str, Tensor, Tensor], Tensor]]:
    """The names of a policy's operations, and how one changes images by their chances."""
    if settings.policy == "augmix":
        level = min(magnitude, LARGEST_LEVEL)
        return AUGMIX_OPERATIONS, lambda name, pixels, chances: apply_augmix(name, pixels, level, chances[:, 0] < 0.5)
    policy, magnitude = POLICIES[settings.policy], min(magnitude, LARGEST_MAGNITUDE)
    distances = Distances(settings.translation, settings.cutout)
    if settings.pixel_reference:
        distances = distances.scaled(size / settings.pixel_reference)
    return policy.operations, lambda name, pixels, chances: policy.apply(name, pixels, magnitude, chances, distances)


def draws_sheet(images: Images, noise: InputNoise, rows: npt.NDArray[np.int64], epochs: int) -> NoiseSheet:
    """The images without noise and as ``noise`` shows them in its first epochs, at their places ``rows`` [N]."""
    columns = {PLAIN: _plain(images, noise.size)}
    for epoch in range(epochs):
        columns[f"epoch {epoch + 1}"] = _noised(images, noise, epoch, torch.from_numpy(rows))
    return _sheet(columns)


def _plain(images: Images, size: int) -> Tensor:
    sizes = torch.from_numpy(images.sizes.astype(np.int64))
    return PlainView(size)(torch.from_numpy(images.pixels), sizes)


def _noised(images: Images, noise: InputNoise, epoch: int, rows: Tensor) -> Tensor:
    return torch.from_numpy(noised(images, noise, epoch=epoch, index=rows).pixels)


def _sheet(columns: dict[str, Tensor]) -> NoiseSheet:
    cells = torch.stack(list(columns.values()), dim=1)
    return NoiseSheet(tuple(columns), cells.permute(0, 1, 3, 4, 2).numpy())
