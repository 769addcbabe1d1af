"""Input noise: what is done to the student's images, each by its own draws, whatever batch it comes in."""

from __future__ import annotations

from torch import Tensor

from noisystudent.noise.augmix import LARGEST_LEVEL, AugMix
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.crop import (
    PlainView,
    edge_of_view,
    flip,
    pad_crop,
    resized_crop,
    shrunk,
    smallest_area,
)
from noisystudent.noise.erasing import erase
from noisystudent.noise.geometric import cutout
from noisystudent.noise.policies import Distances
from noisystudent.noise.randaugment import RandAugment
from noisystudent.noise.settings import LARGEST_MAGNITUDE, NoiseSettings
from noisystudent.runtime.thread_shares import in_shares

# An image's draws have fixed places, so that switching one noise off leaves the others as they were.
_CROP = slice(0, 4)
_FLIP = 4
_RANDAUGMENT_START = 5
_HOLE_START = 100  # beyond what RandAugment's 16 layers take
_ERASING_START = 102
_AUGMIX_START = 200


class InputNoise:
    """The student's view of an image: random crop, flip, RandAugment (Xie et al., 2020, section 3.1) or AugMix.

    ``size`` is the model's input edge in pixels; ``strength`` (0 to 2) multiplies RandAugment's magnitude,
    up to 30, and the crop's reach. At strength 0 the crop takes the whole area without a shift and
    RandAugment is left out, because its magnitude 0 is not the absence of noise (Solarize inverts there,
    Brightness is 0.1). ``storage_size`` is the short edge of the stored images, ``size`` unless said: a model
    that is smaller than another of the same run gets images that were stored for that one, and shrinks them.
    """

    def __init__(
        self, settings: NoiseSettings, *, size: int, strength: float, rng: CounterRng, storage_size: int | None = None
    ) -> None:
        self.settings = settings
        self.size = size
        self.storage_size = storage_size or size
        self.strength = strength
        self.rng = rng
        self._crop = settings.crop_at(size)
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
        """From stored images ``uint8 [B, C, H, W]`` to noised ones, ``uint8 [B, C, size, size]``.

        ``sizes`` is each image's valid (height, width) ``[B, 2]``; ``epoch`` and ``index``, int64
        ``[B]``, say which draws are an image's own. Kept on the CPU they spare an accelerator all waiting
        for the host.
        """
        return in_shares(self._noised, pixels, sizes, epoch, index)

    def _noised(self, pixels: Tensor, sizes: Tensor, epoch: Tensor, index: Tensor) -> Tensor:
        uniforms = self.rng.uniform(epoch, index, _RANDAUGMENT_START)
        pixels = self._cropped(pixels, sizes, uniforms[:, _CROP])
        if self.settings.flip:
            pixels = flip(pixels, uniforms[:, _FLIP] < 0.5)
        if self._distortion:
            chances = self.rng.uniform(epoch, index, self._distortion.rng, first=self._distortion_start)
            pixels = self._distortion(pixels, chances)
        if self.settings.hole:
            pixels = cutout(pixels, self.settings.hole // 2, self.rng.uniform(epoch, index, 2, first=_HOLE_START))
        if self.settings.erasing:
            pixels = erase(pixels, self.rng.uniform(epoch, index, 5, first=_ERASING_START), self.settings.erasing)
        return pixels

    def _cropped(self, pixels: Tensor, sizes: Tensor, uniforms: Tensor) -> Tensor:
        match self._crop:
            case "pad":
                edge = edge_of_view(self.size, self.storage_size)
                reach = round(self.strength * self.settings.pad * edge)
                return shrunk(pad_crop(pixels, sizes, uniforms[:, :2], size=edge, reach=reach), self.size)
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
            case "none":
                return PlainView(self.size)(pixels, sizes)
