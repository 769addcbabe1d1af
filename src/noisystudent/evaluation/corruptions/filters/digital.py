"""The corruptions of kind digital that change no place: contrast, pixelate, JPEG, saturate.

Every function takes ``uint8 [B, C, S, S]`` and the parameters of a severity, in the order of the published tables, and
returns a new tensor of the same shape.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from noisystudent.evaluation.corruptions.filters.levels import cut_off, gray

_FRACTION_BITS = 22  # of Pillow's weights


def contrast(pixels: Tensor, kept: float) -> Tensor:
    """Keep the share ``kept`` of each value's distance from its channel's mean."""
    count = pixels[0, 0].numel()
    mean = pixels.sum(dim=(2, 3), keepdim=True).to(torch.float32).div_(count)
    return cut_off(pixels.to(torch.float32).sub_(mean).mul_(kept).add_(mean))


def saturate(pixels: Tensor, factor: float, addition: float) -> Tensor:
    """Make the saturation of hue, saturation and value ``factor`` times as large plus ``addition``, up to 1.

    A gray has hue 0 as in the published code, so that an addition makes it red; a gray image becomes the luma of
    that.
    """
    values = pixels.to(torch.float32).expand(-1, 3, -1, -1)
    brightest = values.amax(dim=1, keepdim=True)
    spread = brightest - values.amin(dim=1, keepdim=True)
    saturation = (spread / brightest.clamp(min=1.0)).mul_(factor).add_(addition).clamp_(max=1.0)
    depth = saturation.mul_(brightest)  # how far the darkest channel comes to lie below the brightest
    fall = (brightest - values) / spread.clamp(min=1.0)
    red = fall.new_tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1)
    changed = brightest - torch.where(spread > 0, fall, red).mul_(depth)
    return cut_off(gray(changed) if pixels.shape[1] == 1 else changed)


def pixelate(pixels: Tensor, kept: float) -> Tensor:
    """Shrink the image to ``kept`` of its edge and enlarge it again, both by Pillow's box filter, to the same bit."""
    size = pixels.shape[-1]
    small = max(1, int(size * kept))
    return _boxed(_boxed(pixels, small), size)


def _boxed(pixels: Tensor, size: int) -> Tensor:
    """The images resized to ``size`` pixels, columns first and rounded in between, as in Pillow."""
    for axis in (3, 2):
        places, weights = _box(pixels.shape[axis], size)
        if len(places) == 1:
            pixels = pixels.index_select(axis, places[0].to(pixels.device))
            continue
        shape = (size, 1) if axis == 2 else (size,)
        total = torch.full((), 1 << (_FRACTION_BITS - 1), dtype=torch.int32, device=pixels.device)
        for place, weight in zip(places, weights, strict=True):
            values = pixels.index_select(axis, place.to(pixels.device)).to(torch.int32)
            total = total + values.mul_(weight.to(pixels.device).view(shape))
        pixels = (total >> _FRACTION_BITS).to(torch.uint8)
    return pixels


@lru_cache(maxsize=32)
def _box(length: int, size: int) -> tuple[Tensor, Tensor]:
    """What each of ``size`` pixels is made of: places int64 and weights int32 in fixed point, both ``[T, size]``.

    A pixel is the mean of those whose middle lies within its own area, one pixel wide at least.
    """
    scale = length / size
    stretch = max(scale, 1.0)
    middles = ((np.arange(size) + 0.5) * scale)[:, None]
    places = np.arange(length)
    # Pillow's own order of operations: where a middle lies on the border of two areas, the last bit decides.
    distances = (places - middles + 0.5) * (1.0 / stretch)
    first, end = (np.trunc(middles + side * 0.5 * stretch + 0.5) for side in (-1, 1))
    inside = (distances > -0.5) & (distances <= 0.5) & (places >= first) & (places < end)
    most = int(inside.sum(axis=1).max())
    taken_places = np.argsort(~inside, axis=1, kind="stable")[:, :most]
    taken = np.take_along_axis(inside, taken_places, axis=1)
    weights = np.floor(taken / taken.sum(axis=1, keepdims=True) * (1 << _FRACTION_BITS) + 0.5).astype(np.int32)
    return torch.from_numpy(taken_places.T.copy()), torch.from_numpy(weights.T.copy())


def jpeg_compression(pixels: Tensor, quality: float) -> Tensor:
    """Compress each image as JPEG of Pillow's ``quality`` and read it again; this happens on the CPU."""
    compressed = [_through_jpeg(image, int(quality)) for image in pixels.cpu().numpy()]
    return torch.from_numpy(np.stack(compressed)).to(pixels.device)


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """One image ``uint8 [C, S, S]`` as it comes back from JPEG."""
    # Pillow puts planes together faster than an array is turned around.
    bands = [Image.fromarray(plane) for plane in image]
    buffer = io.BytesIO()
    (Image.merge("RGB", bands) if len(bands) == 3 else bands[0]).save(buffer, "JPEG", quality=quality)
    return np.atleast_3d(np.asarray(Image.open(buffer))).transpose(2, 0, 1)
