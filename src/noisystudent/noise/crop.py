"""Crops, the flip and the plain view: from a canvas of stored images to the square that the model sees.

Stored images lie at the top left of a canvas ``uint8 [B, C, H, W]``, each with its own valid height and
width (``sizes``, ``[B, 2]``); nothing outside the valid part ever reaches an output.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from noisystudent.noise.pixels import choose, images_at_once, to_bytes
from noisystudent.noise.settings import SMALL_IMAGE_SIZE, Interpolation

OFFICIAL_MARGIN = 32  # pixels that the official view leaves off, from both sides together
_SMALLEST_AREA = 0.05
_WIDEST_ASPECT = 4.0 / 3.0


class PlainView:
    """The un-noised view of teachers and evaluation: the central ``size`` x ``size`` square of each image.

    An image stored with a short edge of ``size`` gives its center crop; one stored with ``size + 32``
    gives the official view, a square of size / (size + 32) of the short edge (Xie et al., 2020, official
    code).
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, pixels: Tensor, sizes: Tensor) -> Tensor:
        """Views ``uint8 [B, C, size, size]`` of ``[B, C, H, W]`` with valid (height, width) ``[B, 2]``."""
        if pixels.shape[-2:] == (self.size, self.size):
            return pixels
        edge = edge_of_view(self.size, int(sizes.min()))
        return shrunk(shifted_crop(pixels, sizes, torch.zeros_like(sizes), edge), self.size)


def edge_of_view(size: int, stored: int) -> int:
    """How much of a stored short edge a model of input edge ``size`` sees: all, or the official share above 64 pixels.

    Images may be stored for a larger model of the same run; then the view is larger than ``size``.
    """
    if size <= SMALL_IMAGE_SIZE:
        return stored
    if stored in (size, size + OFFICIAL_MARGIN):
        return size
    return round(stored * size / (size + OFFICIAL_MARGIN))


def shrunk(view: Tensor, size: int) -> Tensor:
    """Square views ``uint8 [B, C, E, E]`` brought to ``size`` x ``size``, bicubic with antialiasing."""
    if view.shape[-1] == size:
        return view
    resized = F.interpolate(view.to(torch.float32), (size, size), mode="bicubic", antialias=True)
    return to_bytes(resized.round_())


def shifted_crop(pixels: Tensor, sizes: Tensor, shift: Tensor, size: int) -> Tensor:
    """The central ``size`` x ``size`` square of each image, moved by ``shift`` whole pixels.

    ``shift`` is ``[B, 2]`` (down, right). What lies beyond the valid part is its mirror image, the border
    pixel not repeated (as ``torch.nn.functional.pad`` in mode ``reflect``, and again when the mirror image
    ends).
    """
    height, width = pixels.shape[-2:]
    assert min(height, width) >= size, f"a canvas of {height}x{width} holds no crop of {size}x{size}"
    device = pixels.device
    valid = sizes.to(device, torch.int64)
    offset = (valid - size).div(2, rounding_mode="floor") + shift.to(device, torch.int64)
    steps = torch.arange(size, device=device)
    rows = _mirrored(offset[:, :1] + steps, valid[:, :1])
    columns = _mirrored(offset[:, 1:] + steps, valid[:, 1:])
    places = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
    batch, channels = pixels.shape[:2]
    taken = pixels.flatten(2).gather(2, places[:, None].expand(-1, channels, -1))
    return taken.view(batch, channels, size, size)


def _mirrored(places: Tensor, length: Tensor) -> Tensor:
    """``places`` folded into [0, length) by reflection about the first and last place."""
    period = (2 * (length - 1)).clamp(min=1)
    folded = places.remainder(period)
    return torch.minimum(folded, period - folded).clamp(max=length - 1)


def pad_crop(pixels: Tensor, sizes: Tensor, uniforms: Tensor, *, size: int, reach: int) -> Tensor:
    """Random shift of the central square by up to ``reach`` pixels each way, the border mirrored in.

    The same as padding by ``reach`` and cutting ``size`` x ``size`` at random. ``uniforms`` is ``[B, 2]``
    in [0, 1).
    """
    shift = (uniforms * (2 * reach + 1)).to(torch.int64) - reach
    return shifted_crop(pixels, sizes, shift, size)


def smallest_area(resized_area: float, strength: float) -> float:
    """Least area fraction of a resized crop: 1 at strength 0, ``resized_area`` at strength 1, never below
    0.05.
    """
    return max(_SMALLEST_AREA, 1.0 - strength * (1.0 - resized_area))


def resized_crop(
    pixels: Tensor,
    sizes: Tensor,
    uniforms: Tensor,
    *,
    size: int,
    area: float,
    samples: int = 1,
    mode: Interpolation = "bilinear",
) -> Tensor:
    """Random box of each image, resized to ``size`` x ``size`` (Inception crop, Szegedy et al., 2015).

    ``uniforms`` is ``[B, 4]`` in [0, 1): area, aspect, top, left. Without a low-pass filter, which is fine for a
    stored short edge of at most ``size + 32``: a box is enlarged, or shrunk by too little to alias. For images stored
    larger each output pixel is the mean of ``samples`` x ``samples`` such values.
    """
    boxes = random_boxes(sizes, uniforms, area).to(pixels.device)
    rows, columns = _sampling_points(boxes, size * samples)
    most = images_at_once(pixels)
    groups = zip(*(torch.split(each, most) for each in (pixels, rows, columns)), strict=True)
    return torch.cat([_sampled(*group, samples=samples, mode=mode) for group in groups])


def _sampling_points(boxes: Tensor, edge: int) -> tuple[Tensor, Tensor]:
    """Where the ``edge`` rows and columns of a box's view lie in its image, in pixels: float32 ``[B, edge]`` each."""
    top, left, height, width = boxes.to(torch.float32)[:, :, None].unbind(1)
    centers = torch.arange(edge, device=boxes.device) + 0.5
    # They stay between the centers of the box's outermost pixels, so that nothing from beyond blends in.
    inset = torch.tensor(0.5, device=boxes.device)
    rows = torch.clamp(centers * (height / edge), min=inset, max=height - 0.5) + top
    columns = torch.clamp(centers * (width / edge), min=inset, max=width - 0.5) + left
    return rows, columns


def _sampled(pixels: Tensor, rows: Tensor, columns: Tensor, *, samples: int, mode: Interpolation) -> Tensor:
    """The images at all crossings of ``rows`` and ``columns``, the mean of each ``samples`` x ``samples`` of them."""
    height, width = pixels.shape[-2:]
    rows, columns = rows * (2.0 / height) - 1.0, columns * (2.0 / width) - 1.0
    shape = (len(pixels), rows.shape[1], columns.shape[1])
    grid = torch.stack((columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)), dim=3)
    sampled = F.grid_sample(pixels.to(torch.float32), grid, mode=mode, padding_mode="border", align_corners=False)
    if samples > 1:
        sampled = F.avg_pool2d(sampled, samples)
    return to_bytes(sampled.add_(0.5))


def random_boxes(sizes: Tensor, uniforms: Tensor, area: float) -> Tensor:
    """Random boxes (top, left, height, width), int64 ``[B, 4]``, each within its image's valid ``sizes``.

    The area is uniform between the fraction ``area`` and the whole image, the aspect log-uniform between
    3/4 and 4/3. Both are drawn only where a box fits (Szegedy et al. draw again until one does): very long
    images therefore give less than their whole area, never another aspect.
    """
    # Float64 and whole pixels: the last bit of a logarithm, which vectorized code may round either way,
    # cannot show.
    height, width = sizes.to(uniforms.device, torch.float64).unbind(1)
    chance = uniforms.to(torch.float64)
    shape = width / height
    whole = height * width
    largest = torch.minimum(_WIDEST_ASPECT / shape, _WIDEST_ASPECT * shape).clamp(max=1.0)
    least = largest.clamp(max=area)
    box_area = whole * (least + chance[:, 0] * (largest - least))
    narrowest = (box_area / height**2).clamp(min=1.0 / _WIDEST_ASPECT)
    widest = torch.maximum((width**2 / box_area).clamp(max=_WIDEST_ASPECT), narrowest)
    aspect = torch.exp(narrowest.log() + chance[:, 1] * (widest.log() - narrowest.log()))
    box_height = torch.minimum((box_area / aspect).sqrt().round().clamp(min=1.0), height)
    box_width = torch.minimum((box_area * aspect).sqrt().round().clamp(min=1.0), width)
    top = (chance[:, 2] * (height - box_height + 1)).floor()
    left = (chance[:, 3] * (width - box_width + 1)).floor()
    return torch.stack((top, left, box_height, box_width), dim=1).to(torch.int64)


def flip(pixels: Tensor, chosen: Tensor) -> Tensor:
    """Mirror left to right the images where the boolean ``chosen`` ``[B]`` is true."""
    return choose(chosen, pixels.flip(3), pixels)
