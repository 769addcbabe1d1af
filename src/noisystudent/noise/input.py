"""Input noise: random changes of the student's images, which do not depend on the batch of an image."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor

from noisystudent.data.images import squashed_edge
from noisystudent.noise.augmix import LARGEST_LEVEL, AugMix
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.crop import (
    PlainView,
    edge_of_view,
    flip,
    pad_crop,
    random_window,
    resize_views,
    resized_crop,
    smallest_area,
)
from noisystudent.noise.erasing import erase
from noisystudent.noise.geometric import cutout
from noisystudent.noise.policies import Distances
from noisystudent.noise.randaugment import RandAugment
from noisystudent.noise.settings import LARGEST_MAGNITUDE, NoiseSettings
from noisystudent.runtime.thread_shares import map_in_threads

# Every noise reads its random numbers at fixed positions, so that switching one noise off does not change the others.
_CROP = slice(0, 4)
_FLIP = 4
_RANDAUGMENT_START = 5
_HOLE_START = 100  # beyond what RandAugment's 16 layers take
_ERASING_START = 102
_AUGMIX_START = 200


class InputNoise:
    """The student's view of an image: random crop, flip, RandAugment (Xie et al., 2020, section 3.1) or AugMix.

    With ``crop_last`` the crop comes after RandAugment and the hole, whose border it may then reflect.

    Without strength there is neither, because the magnitude 0 of RandAugment is not the absence of noise (Solarize
    inverts, Brightness is 0.1).

    Args:
        settings: the noise settings.
        size: the model's input edge in pixels.
        strength: 0 to 2; it multiplies RandAugment's magnitude, up to 30, and the crop's reach.
        rng: the random numbers.
        storage_size: short edge of the stored images, ``size`` by default. It is larger if images are stored for a
            larger model of the same run; this noise then reduces them.
        crop: the share of the short edge that the plain view shows; None: the official one.
    """

    def __init__(
        self,
        settings: NoiseSettings,
        *,
        size: int,
        strength: float,
        rng: CounterRng,
        storage_size: int | None = None,
        crop: float | None = None,
    ) -> None:
        self.settings = settings
        self.size = size
        self.storage_size = storage_size or size
        self.strength = strength
        self.rng = rng
        self.crop = crop
        self._crop = settings.crop_at(size) if strength else "none"
        self._distortion = self._build_distortion()
        self._distortion_start = _AUGMIX_START if isinstance(self._distortion, AugMix) else _RANDAUGMENT_START

    def _build_distortion(self) -> RandAugment | AugMix | None:
        if not self.settings.randaugment or self.strength == 0.0:
            return None
        if self.settings.policy == "augmix":
            return AugMix(
                depth=self.settings.layers,
                magnitude=min(self.strength * self.settings.magnitude, LARGEST_LEVEL),
                operations=self.settings.operations,
            )
        return RandAugment(
            layers=self.settings.layers,
            magnitude=min(self.strength * self.settings.magnitude, LARGEST_MAGNITUDE),
            policy=self.settings.policy,
            operations=self.settings.operations,
            distances=Distances(self.settings.translation, self.settings.cutout),
            pixel_reference=self.settings.pixel_reference,
        )

    def __call__(self, pixels: Tensor, sizes: Tensor, epoch: Tensor, index: Tensor) -> Tensor:
        """Returns noised images, uint8 [B, C, size, size].

        Args:
            pixels: stored images, uint8 [B, C, H, W].
            sizes: valid (height, width) of every image, [B, 2].
            epoch: epoch of every image, int64 [B]; it chooses the random numbers together with ``index``. Both should
                be on the CPU, so that an accelerator need not wait for the host.
            index: index of every image, int64 [B].
        """
        return map_in_threads(self._apply, pixels, sizes, epoch, index)

    def _apply(self, pixels: Tensor, sizes: Tensor, epoch: Tensor, index: Tensor) -> Tensor:
        uniforms = self.rng.uniform(epoch, index, _RANDAUGMENT_START)
        crops_last = self.settings.crop_last and self._crop == "pad"
        pixels = self._plain(pixels, sizes) if crops_last else self._crop_views(pixels, sizes, uniforms[:, _CROP])
        if self.settings.flip:
            pixels = flip(pixels, uniforms[:, _FLIP] < 0.5)
        if self._distortion:
            draws = self.rng.uniform(epoch, index, self._distortion.draws, first=self._distortion_start)
            pixels = self._distortion(pixels, draws)
        if self.settings.hole:
            pixels = cutout(pixels, self.settings.hole // 2, self.rng.uniform(epoch, index, 2, first=_HOLE_START))
        if crops_last:
            pixels = self._pad_crop(pixels, torch.full_like(sizes, self.size), uniforms, self.size)
        if self.settings.erasing:
            pixels = erase(pixels, self.rng.uniform(epoch, index, 5, first=_ERASING_START), self.settings.erasing)
        return pixels

    def _crop_views(self, pixels: Tensor, sizes: Tensor, uniforms: Tensor) -> Tensor:
        match self._crop:
            case "pad":
                edge = edge_of_view(self.size, self.storage_size, self.crop)
                return resize_views(self._pad_crop(pixels, sizes, uniforms, edge), self.size)
            case "resized":
                area = smallest_area(self.settings.resized_area, self.strength)
                samples = round(self.storage_size / self.size)
                return resized_crop(
                    pixels,
                    sizes,
                    uniforms,
                    size=self.size,
                    area=area,
                    samples=samples,
                    mode=self.settings.interpolation,
                )
            case "window":
                return self._window(pixels, sizes, uniforms)
            case "none":
                return self._plain(pixels, sizes)
            case _:
                assert_never(self._crop)

    def _plain(self, pixels: Tensor, sizes: Tensor) -> Tensor:
        return PlainView(self.size, self.crop)(pixels, sizes)

    def _window(self, pixels: Tensor, sizes: Tensor, uniforms: Tensor) -> Tensor:
        """A random square of squashed images, at strength 1 of as many pixels as the model sees."""
        own = round(self.storage_size * self.size / squashed_edge(self.size))
        edge = self.storage_size - round(self.strength * (self.storage_size - own))
        return resize_views(random_window(pixels, sizes, uniforms[:, :2], edge), self.size)

    def _pad_crop(self, pixels: Tensor, sizes: Tensor, uniforms: Tensor, edge: int) -> Tensor:
        reach = round(self.strength * self.settings.pad * edge)
        return pad_crop(pixels, sizes, uniforms[:, :2], size=edge, reach=reach)
