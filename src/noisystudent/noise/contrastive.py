"""Views for contrastive pretraining (Chen et al. 2020, appendix A): crop, flip, color jitter, gray, blur.

The color operations are those of torchvision's ``ColorJitter`` on floats in 0..1, which most implementations in torch
use; the released TensorFlow code has other ones for contrast (a mean per channel) and saturation (in HSV).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.crop import flip, resized_crop
from noisystudent.noise.pixels import to_bytes
from noisystudent.runtime.thread_shares import map_in_threads

_JITTERED, _GRAY, _BLURRED = 0.8, 0.2, 0.5  # the share of images that each operation changes
_JITTER, _HUE = 0.8, 0.2  # range of the factors around 1, and of the hue's shift in turns, at strength 1
_SIGMAS = (0.1, 2.0)  # of the blur, in pixels
_LUMA = (0.2989, 0.587, 0.114)
_DRAWS = 17  # crop 4, flip 1, jittered 1, factors 4, order 4, gray 1, blurred 1, sigma 1


@dataclass(frozen=True)
class ContrastiveView:
    """One random view of every image, for contrastive pretraining.

    Attributes:
        size: Edge of the view in pixels.
        area: Smallest area of the crop, as a fraction of the image.
        color: Strength of the color jitter, at least 0; the paper's 1 for ImageNet, 0.5 for CIFAR-10.
        blur: Whether half of the views are blurred.
        mirror: Whether half of the views are flipped left to right.
        rng: The random numbers.
        storage_size: Short edge of the stored images.
    """

    size: int
    area: float
    color: float
    blur: bool
    mirror: bool
    rng: CounterRng
    storage_size: int

    def __call__(self, pixels: Tensor, sizes: Tensor, address: Tensor, index: Tensor) -> Tensor:
        """Returns views, uint8 [B, C, size, size].

        Args:
            pixels: stored images, uint8 [B, C, H, W].
            sizes: valid (height, width) of every image, [B, 2].
            address: chooses the random numbers together with ``index``, int64 [B] on the CPU; the two views of an image
                in an epoch have addresses of their own.
            index: index of every image, int64 [B] on the CPU.
        """
        return map_in_threads(self._apply, pixels, sizes, address, index)

    def _apply(self, pixels: Tensor, sizes: Tensor, address: Tensor, index: Tensor) -> Tensor:
        draws = self.rng.uniform(address, index, _DRAWS)
        samples = round(self.storage_size / self.size)
        views = resized_crop(
            pixels, sizes, draws[:, :4], size=self.size, area=self.area, samples=samples, mode="bicubic"
        )
        if self.mirror:
            views = flip(views, draws[:, 4] < 0.5)
        draws = draws.to(pixels.device)
        values = views.float() / 255
        if self.color:
            values = _jitter(values, draws[:, 5:14], self.color)
        if values.shape[1] == 3:
            values = torch.where(_mask(draws[:, 14] < _GRAY), _luma(values).expand_as(values), values)
        if self.blur:
            low, high = _SIGMAS
            blurred = gaussian_blur(values, low + (high - low) * draws[:, 16], self.size // 20)
            values = torch.where(_mask(draws[:, 15] < _BLURRED), blurred, values)
        return to_bytes(values * 255 + 0.5)


def _mask(chosen: Tensor) -> Tensor:
    return chosen[:, None, None, None]


def _jitter(values: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Changes brightness, contrast, saturation and hue of most images by random factors in a random order."""
    reach = _JITTER * strength
    least = max(0.0, 1 - reach)
    factors = least + (1 + reach - least) * draws[:, 1:4]
    turns = _HUE * strength * (2 * draws[:, 4] - 1)
    order = draws[:, 5:9].argsort(dim=1)
    operations: list[tuple[Callable[[Tensor, Tensor], Tensor], Tensor]] = [
        (brightness, factors[:, 0]),
        (contrast, factors[:, 1]),
        (saturation, factors[:, 2]),
        (hue, turns),
    ]
    if values.shape[1] == 1:
        operations = operations[:2]  # the others change no gray image
    jittered = values.clone()
    for place in range(4):
        for number, (operation, amount) in enumerate(operations):
            rows = torch.nonzero((order[:, place] == number) & (draws[:, 0] < _JITTERED)).flatten()
            jittered[rows] = operation(jittered[rows], amount[rows])
    return jittered


def brightness(values: Tensor, factor: Tensor) -> Tensor:
    """Multiplies images [B, C, H, W] in 0..1 by a factor each, [B]."""
    return (values * _per_image(factor)).clamp(0, 1)


def contrast(values: Tensor, factor: Tensor) -> Tensor:
    """Blends images with their mean gray: factor 0 is that gray, 1 the image."""
    return _blend(values, _luma(values).mean(dim=(1, 2, 3), keepdim=True), factor)


def saturation(values: Tensor, factor: Tensor) -> Tensor:
    """Blends color images with their gray version: factor 0 is gray, 1 the image."""
    return _blend(values, _luma(values), factor)


def hue(values: Tensor, turns: Tensor) -> Tensor:
    """Shifts the hue of color images by -0.5 to 0.5 turns of the color circle each, [B]."""
    largest, smallest = values.amax(dim=1), values.amin(dim=1)
    chroma = largest - smallest
    scale = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    red, green, blue = ((largest - values[:, channel]) / scale for channel in range(3))
    sector = torch.where(
        largest == values[:, 0],
        blue - green,
        torch.where(largest == values[:, 1], 2 + red - blue, 4 + green - red),
    )
    angle = (sector / 6 + turns[:, None, None]).remainder(1.0) * 6
    channels = []
    for offset in (5.0, 3.0, 1.0):  # red, green, blue: value - chroma * clip of a triangle over the circle
        place = (offset + angle).remainder(6.0)
        channels.append(largest - chroma * torch.minimum(place, 4 - place).clamp(0, 1))
    return torch.stack(channels, dim=1).clamp(0, 1)


def gaussian_blur(values: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Blurs images [B, C, H, W], each with its own deviation in pixels, [B], reflected at the border.

    The kernel has 2 ``radius`` + 1 pixels, as in the released code about a tenth of the image.
    """
    offsets = torch.arange(-radius, radius + 1, device=values.device, dtype=values.dtype)
    weights = torch.exp(-offsets.square() / (2 * sigma[:, None].square()))
    weights = weights / weights.sum(dim=1, keepdim=True)
    padded = F.pad(values, (radius, radius, radius, radius), mode="reflect")
    return _convolved(_convolved(padded, weights, axis=2), weights, axis=3)


def _convolved(values: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Images convolved along one axis with a kernel each, [B, P]; they become P - 1 pixels shorter."""
    edge = values.shape[axis] - weights.shape[1] + 1
    convolved = torch.zeros_like(values.narrow(axis, 0, edge))
    for place in range(weights.shape[1]):
        convolved += _per_image(weights[:, place]) * values.narrow(axis, place, edge)
    return convolved


def _per_image(numbers: Tensor) -> Tensor:
    return numbers[:, None, None, None]


def _blend(values: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    amount = _per_image(factor)
    return (amount * values + (1 - amount) * other).clamp(0, 1)


def _luma(values: Tensor) -> Tensor:
    """The gray version of images in 0..1, [B, 1, H, W]."""
    if values.shape[1] == 1:
        return values
    red, green, blue = values.unbind(1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue)[:, None]
