"""Crops, the flip and the plain view: from a canvas of stored images to the square input of a model.

Stored images lie at the top left of a canvas uint8 [B, C, H, W]. ``sizes`` [B, 2] holds the valid height and width of
every image; pixels outside the valid part never reach an output.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from noisystudent.data.images import stored_edge
from noisystudent.noise.pixels import choose, images_at_once, to_bytes
from noisystudent.noise.settings import SMALL_IMAGE_SIZE, Interpolation

_SMALLEST_AREA = 0.05
_WIDEST_ASPECT = 4.0 / 3.0


class PlainView:
    """The view without noise, for teachers and evaluation: the central ``size`` x ``size`` square of every image.

    For an image stored with a short edge of ``size`` this is the center crop. For a short edge of ``size + 32`` it is
    the official view, a square of size / (size + 32) of the short edge (Xie et al., 2020, official code). ``crop`` is
    another share of the short edge, such as that of pretrained weights.
    """

    def __init__(self, size: int, crop: float | None = None) -> None:
        self.size, self.crop = size, crop

    def __call__(self, pixels: Tensor, sizes: Tensor) -> Tensor:
        """Returns views uint8 [B, C, size, size] of canvases [B, C, H, W] with valid (height, width) [B, 2]."""
        if pixels.shape[-2:] == (self.size, self.size):
            return pixels
        edge = edge_of_view(self.size, int(sizes.min()), self.crop)
        return resize_views(shifted_crop(pixels, sizes, torch.zeros_like(sizes), edge), self.size)


def edge_of_view(size: int, stored: int, crop: float | None = None) -> int:
    """Returns how much of a stored short edge a model with input edge ``size`` uses, in pixels.

    That is all of it up to a size of 64 pixels, and above the share ``crop``, or the official one for None. Images may
    be stored for a larger model of the same run; then the view is larger than ``size``.
    """
    if size <= SMALL_IMAGE_SIZE:
        return stored
    if stored in (size, stored_edge(size, crop)):
        return size
    return round(stored * size / stored_edge(size, crop))


def resize_views(views: Tensor, size: int) -> Tensor:
    """Resizes square views uint8 [B, C, E, E] to ``size`` x ``size``, bicubic with antialiasing."""
    if views.shape[-1] == size:
        return views
    resized = F.interpolate(views.to(torch.float32), (size, size), mode="bicubic", antialias=True)
    return to_bytes(resized.round_())


def shifted_crop(pixels: Tensor, sizes: Tensor, shift: Tensor, size: int) -> Tensor:
    """Crops the central ``size`` x ``size`` square of every image, shifted by whole pixels.

    Beyond the valid part, the image is reflected without repeating the border pixel, as by
    ``torch.nn.functional.pad`` in mode ``reflect``, as often as necessary.

    Args:
        pixels: canvases, uint8 [B, C, H, W].
        sizes: valid (height, width), [B, 2].
        shift: shift (down, right) in pixels, [B, 2].
        size: edge of the crop in pixels.
    """
    height, width = pixels.shape[-2:]
    assert min(height, width) >= size, f"a canvas of {height}x{width} is too small for a crop of {size}x{size}"
    device = pixels.device
    valid = sizes.to(device, torch.int64)
    offset = (valid - size).div(2, rounding_mode="floor") + shift.to(device, torch.int64)
    steps = torch.arange(size, device=device)
    rows = _reflect(offset[:, :1] + steps, valid[:, :1])
    columns = _reflect(offset[:, 1:] + steps, valid[:, 1:])
    positions = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)
    batch, channels = pixels.shape[:2]
    crops = pixels.flatten(2).gather(2, positions[:, None].expand(-1, channels, -1))
    return crops.view(batch, channels, size, size)


def _reflect(positions: Tensor, length: Tensor) -> Tensor:
    """Folds ``positions`` into [0, length) by reflection about the first and the last position."""
    period = (2 * (length - 1)).clamp(min=1)
    folded = positions.remainder(period)
    return torch.minimum(folded, period - folded).clamp(max=length - 1)


def pad_crop(pixels: Tensor, sizes: Tensor, uniforms: Tensor, *, size: int, reach: int) -> Tensor:
    """Crops the central square, shifted at random by up to ``reach`` pixels in both directions, with reflected borders.

    This equals padding by ``reach`` and cropping ``size`` x ``size`` at random.

    Args:
        pixels: canvases, uint8 [B, C, H, W].
        sizes: valid (height, width), [B, 2].
        uniforms: random numbers, [B, 2] in [0, 1).
        size: edge of the crop in pixels.
        reach: largest shift in pixels.
    """
    shift = (uniforms * (2 * reach + 1)).to(torch.int64) - reach
    return shifted_crop(pixels, sizes, shift, size)


def random_window(pixels: Tensor, sizes: Tensor, uniforms: Tensor, size: int) -> Tensor:
    """Crops a ``size`` x ``size`` square of every image, at each position with the same probability.

    Args:
        pixels: canvases, uint8 [B, C, H, W].
        sizes: valid (height, width), [B, 2], at least ``size``.
        uniforms: random numbers for top and left, [B, 2] in [0, 1).
        size: edge of the crop in pixels.
    """
    room = sizes.to(uniforms.device) - size
    first = (uniforms * (room + 1)).to(torch.int64)
    return shifted_crop(pixels, sizes, first - room.div(2, rounding_mode="floor"), size)


def smallest_area(resized_area: float, strength: float) -> float:
    """Returns the smallest area fraction of a resized crop: 1 at strength 0, ``resized_area`` at 1, at least 0.05."""
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
    """Crops a random box of every image and resizes it to ``size`` x ``size`` (Inception crop, Szegedy et al., 2015).

    There is no low-pass filter. For a stored short edge of at most ``size + 32`` none is needed: a box is enlarged, or
    reduced too little to alias. For larger images, an output pixel is the mean of several samples.

    Args:
        pixels: canvases, uint8 [B, C, H, W].
        sizes: valid (height, width), [B, 2].
        uniforms: random numbers for area, aspect, top and left, [B, 4] in [0, 1).
        size: edge of the result in pixels.
        area: smallest area of a box, as a fraction of the image.
        samples: an output pixel is the mean of ``samples`` x ``samples`` values.
        mode: interpolation.
    """
    boxes = random_boxes(sizes, uniforms, area).to(pixels.device)
    rows, columns = _sampling_points(boxes, size * samples)
    count = images_at_once(pixels)
    groups = zip(*(torch.split(tensor, count) for tensor in (pixels, rows, columns)), strict=True)
    return torch.cat([_sample(*group, samples=samples, mode=mode) for group in groups])


def _sampling_points(boxes: Tensor, edge: int) -> tuple[Tensor, Tensor]:
    """The rows and columns of a box's view in its image, in pixels: two tensors float32 [B, edge]."""
    top, left, height, width = boxes.to(torch.float32)[:, :, None].unbind(1)
    centers = torch.arange(edge, device=boxes.device) + 0.5
    # Clamped to the centers of the box's outermost pixels, so that pixels outside the box do not blend in.
    inset = torch.tensor(0.5, device=boxes.device)
    rows = torch.clamp(centers * (height / edge), min=inset, max=height - 0.5) + top
    columns = torch.clamp(centers * (width / edge), min=inset, max=width - 0.5) + left
    return rows, columns


def _sample(pixels: Tensor, rows: Tensor, columns: Tensor, *, samples: int, mode: Interpolation) -> Tensor:
    """Samples the images where ``rows`` and ``columns`` cross, and averages ``samples`` x ``samples`` values."""
    height, width = pixels.shape[-2:]
    rows, columns = rows * (2.0 / height) - 1.0, columns * (2.0 / width) - 1.0
    shape = (len(pixels), rows.shape[1], columns.shape[1])
    grid = torch.stack((columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)), dim=3)
    sampled = F.grid_sample(pixels.to(torch.float32), grid, mode=mode, padding_mode="border", align_corners=False)
    if samples > 1:
        sampled = F.avg_pool2d(sampled, samples)
    return to_bytes(sampled.add_(0.5))


def random_boxes(sizes: Tensor, uniforms: Tensor, area: float) -> Tensor:
    """Draws random boxes (top, left, height, width) within the images, int64 [B, 4].

    The area is uniform between the fraction ``area`` and the whole image, the aspect ratio log-uniform between 3/4 and
    4/3. Both are drawn from the range in which a box fits (Szegedy et al. draw again until one fits), so boxes of very
    long images have a smaller area, never another aspect ratio.

    Args:
        sizes: valid (height, width), [B, 2].
        uniforms: random numbers for area, aspect, top and left, [B, 4] in [0, 1).
        area: smallest area, as a fraction of the image.
    """
    # Float64 and whole pixels hide the last bit of a logarithm, which vectorized code may round in either direction.
    height, width = sizes.to(uniforms.device, torch.float64).unbind(1)
    area_draw, aspect_draw, top_draw, left_draw = uniforms.to(torch.float64).unbind(1)
    shape = width / height
    image_area = height * width
    largest = torch.minimum(_WIDEST_ASPECT / shape, _WIDEST_ASPECT * shape).clamp(max=1.0)
    smallest = largest.clamp(max=area)
    box_area = image_area * (smallest + area_draw * (largest - smallest))
    narrowest = (box_area / height**2).clamp(min=1.0 / _WIDEST_ASPECT)
    widest = torch.maximum((width**2 / box_area).clamp(max=_WIDEST_ASPECT), narrowest)
    aspect = torch.exp(narrowest.log() + aspect_draw * (widest.log() - narrowest.log()))
    box_height = torch.minimum((box_area / aspect).sqrt().round().clamp(min=1.0), height)
    box_width = torch.minimum((box_area * aspect).sqrt().round().clamp(min=1.0), width)
    top = (top_draw * (height - box_height + 1)).floor()
    left = (left_draw * (width - box_width + 1)).floor()
    return torch.stack((top, left, box_height, box_width), dim=1).to(torch.int64)


def flip(pixels: Tensor, chosen: Tensor) -> Tensor:
    """Flips the images left to right where the boolean ``chosen`` [B] is true."""
    return choose(chosen, pixels.flip(3), pixels)
