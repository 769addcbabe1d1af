"""The digital corruptions that move no pixel: contrast, pixelate, JPEG compression and saturate.

Every function takes ``uint8 [B, C, S, S]`` and the parameters of one severity, in the order of the published tables,
and returns a new tensor of the same shape.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from noisystudent.evaluation.corruptions.filters.levels import to_gray, truncate_to_uint8

_FRACTION_BITS = 22  # of Pillow's fixed-point weights


def contrast(pixels: Tensor, factor: float) -> Tensor:
    """Multiplies each value's distance from its channel's mean by ``factor``, from 0 to 1."""
    count = pixels[0, 0].numel()
    mean = pixels.sum(dim=(2, 3), keepdim=True).to(torch.float32).div_(count)
    return truncate_to_uint8(pixels.to(torch.float32).sub_(mean).mul_(factor).add_(mean))


def saturate(pixels: Tensor, factor: float, addition: float) -> Tensor:
    """Multiplies the saturation (of hue, saturation and value) by ``factor``, adds ``addition`` and clips at 1.

    A gray pixel has hue 0 as in the published code, so ``addition`` makes it red. An image with one channel becomes
    the luma of that color.
    """
    values = pixels.to(torch.float32).expand(-1, 3, -1, -1)
    brightest = values.amax(dim=1, keepdim=True)
    spread = brightest - values.amin(dim=1, keepdim=True)
    saturation = (spread / brightest.clamp(min=1.0)).mul_(factor).add_(addition).clamp_(max=1.0)
    depth = saturation.mul_(brightest)  # the new distance of the darkest channel from the brightest
    fall = (brightest - values) / spread.clamp(min=1.0)
    red = fall.new_tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1)
    changed = brightest - torch.where(spread > 0, fall, red).mul_(depth)
    return truncate_to_uint8(to_gray(changed) if pixels.shape[1] == 1 else changed)


def pixelate(pixels: Tensor, factor: float) -> Tensor:
    """Shrinks the image's edge by ``factor`` and enlarges it again with a box filter, bit for bit as Pillow does."""
    size = pixels.shape[-1]
    small = max(1, int(size * factor))
    return _resize_box(_resize_box(pixels, small), size)


def _resize_box(pixels: Tensor, size: int) -> Tensor:
    """Resizes images to ``size`` pixels, columns first and rounded in between, as in Pillow."""
    for axis in (3, 2):
        indices, weights = _box_weights(pixels.shape[axis], size)
        if len(indices) == 1:
            pixels = pixels.index_select(axis, indices[0].to(pixels.device))
            continue
        shape = (size, 1) if axis == 2 else (size,)
        total = torch.full((), 1 << (_FRACTION_BITS - 1), dtype=torch.int32, device=pixels.device)
        for index, weight in zip(indices, weights, strict=True):
            values = pixels.index_select(axis, index.to(pixels.device)).to(torch.int32)
            total = total + values.mul_(weight.to(pixels.device).view(shape))
        pixels = (total >> _FRACTION_BITS).to(torch.uint8)
    return pixels


@lru_cache(maxsize=32)
def _box_weights(length: int, size: int) -> tuple[Tensor, Tensor]:
    """The inputs of each output pixel: indices int64 and fixed-point weights int32, both ``[T, size]``.

    An output pixel is the mean of the input pixels whose centers lie in its area, which is at least one pixel wide.
    """
    scale = length / size
    stretch = max(scale, 1.0)
    centers = ((np.arange(size) + 0.5) * scale)[:, None]
    inputs = np.arange(length)
    # The order of operations is Pillow's: if a center lies on the border of two areas, the last bit decides.
    distances = (inputs - centers + 0.5) * (1.0 / stretch)
    first, end = (np.trunc(centers + side * 0.5 * stretch + 0.5) for side in (-1, 1))
    inside = (distances > -0.5) & (distances <= 0.5) & (inputs >= first) & (inputs < end)
    most = int(inside.sum(axis=1).max())
    indices = np.argsort(~inside, axis=1, kind="stable")[:, :most]
    used = np.take_along_axis(inside, indices, axis=1)
    weights = np.floor(used / used.sum(axis=1, keepdims=True) * (1 << _FRACTION_BITS) + 0.5).astype(np.int32)
    return torch.from_numpy(indices.T.copy()), torch.from_numpy(weights.T.copy())


def jpeg_compression(pixels: Tensor, quality: float) -> Tensor:
    """Compresses each image as JPEG of Pillow's ``quality`` and decodes it again, on the CPU."""
    compressed = [_jpeg_round_trip(image, int(quality)) for image in pixels.cpu().numpy()]
    return torch.from_numpy(np.stack(compressed)).to(pixels.device)


def _jpeg_round_trip(image: np.ndarray, quality: int) -> np.ndarray:
    """One image ``uint8 [C, S, S]``, encoded as JPEG and decoded again."""
    # Pillow merges planes faster than NumPy transposes an array.
    bands = [Image.fromarray(plane) for plane in image]
    buffer = io.BytesIO()
    (Image.merge("RGB", bands) if len(bands) == 3 else bands[0]).save(buffer, "JPEG", quality=quality)
    return np.atleast_3d(np.asarray(Image.open(buffer))).transpose(2, 0, 1)
