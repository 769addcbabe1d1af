"""Generates ImageNet-P's sequences: images under a perturbation that changes from frame to frame.

Hendrycks and Dietterich 2019, section 3.2, and their published generators for images of 32, 64 and 224 px. The area
beyond an image's border is black. The published sequences for ImageNet are cropped from larger images, so their
translations and rotations show a little more; their videos are also compressed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from noisystudent.errors import SettingsError, nearest_name
from noisystudent.evaluation.corruptions.filters.blur import enlarge, gaussian_blur, visible_size
from noisystudent.evaluation.corruptions.filters.levels import round_to_uint8, to_gray, truncate_to_uint8
from noisystudent.evaluation.corruptions.filters.motion import blur_along
from noisystudent.evaluation.corruptions.filters.noise import gaussian_noise, shot_noise, speckle_noise
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields
from noisystudent.evaluation.corruptions.filters.weather import brightness
from noisystudent.evaluation.corruptions.tables import PERTURBATIONS
from noisystudent.noise.counter_rng import CounterRng

FRAMES = 31  # frames of most sequences, see frames_of


@dataclass(frozen=True)
class Strengths:
    """The published parameters for one image size: noise by difficulty 1 to 3, angles in degrees.

    A pair (first, step) gives frame i the value first + step * i.
    """

    gaussian_noise: tuple[float, float, float]
    shot_noise: tuple[float, float, float]
    speckle_noise: tuple[float, float, float]
    motion: tuple[float, float]  # radius and sigma
    motion_angles: tuple[float, float]
    motion_frames: int
    snow: tuple[float, float, float, float, float, float]  # location, scale, zoom, threshold, radius, sigma
    brightness: float  # step per frame; the middle frame is unchanged
    shifts: tuple[int, int]  # the first shift in pixels, and the number of frames
    tilt: float
    scale: tuple[float, float]
    gaussian_blur: tuple[float, float]


STRENGTHS: Mapping[int, Strengths] = {
    32: Strengths(
        gaussian_noise=(0.02, 0.04, 0.06),
        shot_noise=(700, 400, 200),
        speckle_noise=(0.05, 0.07, 0.10),
        motion=(6, 1.8),
        motion_angles=(-180, 9),
        motion_frames=21,
        snow=(0.05, 0.3, 2, 0.5, 10, 2),
        brightness=0.015,
        shifts=(-7, 16),
        tilt=0.75,
        scale=(0.70, 0.02),
        gaussian_blur=(0.3, 0.015),
    ),
    64: Strengths(
        gaussian_noise=(0.025, 0.05, 0.075),
        shot_noise=(500, 250, 125),
        speckle_noise=(0.05, 0.10, 0.15),
        motion=(14, 3),
        motion_angles=(-150, 5),
        motion_frames=31,
        snow=(0.05, 0.28, 2, 0.5, 10, 2.5),
        brightness=0.02,
        shifts=(-15, 31),
        tilt=1.0,
        scale=(0.40, 0.025),
        gaussian_blur=(0.35, 0.014),
    ),
    224: Strengths(
        gaussian_noise=(0.03, 0.05, 0.08),
        shot_noise=(300, 120, 60),
        speckle_noise=(0.05, 0.10, 0.15),
        motion=(10, 3),
        motion_angles=(-120, 4),
        motion_frames=31,
        snow=(0.05, 0.3, 3, 0.5, 14, 4),
        brightness=0.02,
        shifts=(-20, 41),
        tilt=1.0,
        scale=(0.40, 0.025),
        gaussian_blur=(0.25, 0.035),
    ),
}

_SNOW_ANGLES = (-150.0, 4.0)
_ZOOM_STEP = 0.004
_MIDDLE = 15  # the frame in which rotate, tilt, shear and brightness change nothing
_SNOW_IMAGE_WEIGHT = 0.85


def strengths_for(size: int) -> int:
    """The published image size nearest to ``size`` by ratio: 32, 64 or 224 pixels."""
    return min(STRENGTHS, key=lambda published: abs(math.log(published / size)))


def frames_of(name: str, table: int) -> int:
    """The number of frames of a sequence.

    Args:
        name: one of ``tables.PERTURBATIONS``.
        table: the published image size, one of ``STRENGTHS``.
    """
    return {"motion_blur": STRENGTHS[table].motion_frames, "translate": STRENGTHS[table].shifts[1]}.get(name, FRAMES)


def sequence(
    pixels: Tensor, name: str, *, index: Tensor, seed: int, table: int | None = None, difficulty: int = 1
) -> Iterator[Tensor]:
    """Generates the sequences of a batch of images, frame by frame.

    Frame 0 is the image itself only for noise and ``zoom_blur``.

    Args:
        pixels: uint8 [B, C, S, S].
        name: one of ``tables.PERTURBATIONS``.
        index: the number that addresses each image's random numbers, int64 [B].
        seed: the seed of the random numbers.
        table: the image size in pixels whose published parameters are used: 32, 64 or 224; by default the size nearest
            to S by ratio.
        difficulty: 1 to 3. It makes noise stronger; for other perturbations it changes only which frames are compared
            (see ``metrics.StabilityMeter``).

    Returns:
        The frames, uint8 [B, C, S, S] each.

    Raises:
        SettingsError: the perturbation, table or difficulty does not exist.
    """
    if name not in PERTURBATIONS:
        raise SettingsError(
            f"There is no perturbation {name!r}.{nearest_name(name, PERTURBATIONS)} There are "
            f"{', '.join(PERTURBATIONS)}."
        )
    table = strengths_for(pixels.shape[-1]) if table is None else table
    if table not in STRENGTHS:
        raise SettingsError(
            f"Perturbations are published for images of 32, 64 and 224 pixels, not of {table}. Leave the table out to "
            "use the one nearest to the images' size."
        )
    if difficulty not in (1, 2, 3):
        raise SettingsError(f"The difficulty of perturbations must be 1, 2 or 3, not {difficulty!r}.")
    strengths = STRENGTHS[table]
    stream = f"perturbation/{name}/{difficulty}"
    match name:
        case "gaussian_noise" | "shot_noise" | "speckle_noise":
            return _noise_frames(pixels, name, getattr(strengths, name)[difficulty - 1], index, seed, stream)
        case "zoom_blur":
            return _zoom_frames(pixels)
        case "snow":
            return _snow_frames(pixels, strengths, RandomFields(CounterRng(seed, stream), index))
        case _:
            frames = range(frames_of(name, table))
            return (_frame(pixels, name, strengths, frame) for frame in frames)


def _noise_frames(
    pixels: Tensor, name: str, strength: float, index: Tensor, seed: int, stream: str
) -> Iterator[Tensor]:
    """The image, then the image under new noise in each frame."""
    add_noise = {"gaussian_noise": gaussian_noise, "shot_noise": shot_noise, "speckle_noise": speckle_noise}[name]
    yield pixels
    for frame in range(1, FRAMES):
        yield add_noise(pixels, RandomFields(CounterRng(seed, f"{stream}/{frame}"), index), strength)


def _zoom_frames(pixels: Tensor) -> Iterator[Tensor]:
    """The mean of the image and its enlargements so far, one more in each frame."""
    values = pixels.to(torch.float32)
    total = values.clone()
    yield pixels
    for frame in range(1, FRAMES):
        total += truncate_to_uint8(_warp(values, _scaling(1 + _ZOOM_STEP * frame))).to(torch.float32)
        yield truncate_to_uint8(total / (frame + 1))


def _snow_frames(pixels: Tensor, strengths: Strengths, fields: RandomFields) -> Iterator[Tensor]:
    """The same flakes in every frame, falling at a changing angle over the whitened image."""
    location, scale, zoom, threshold, radius, sigma = strengths.snow
    size = pixels.shape[-1]
    cut = visible_size(size, zoom)
    noise = fields.normal(1, cut, cut).mul_(scale).add_(location)
    layer = enlarge(noise, zoom, size)
    flakes = truncate_to_uint8(layer.where(layer >= threshold, 0.0).mul(255.0)).to(torch.float32)
    values = pixels.to(torch.float32)
    white = to_gray(values).mul(1.5).add_(127.5).maximum(values)
    ground = values.mul(_SNOW_IMAGE_WEIGHT).add_(white, alpha=1 - _SNOW_IMAGE_WEIGHT)
    first, step = _SNOW_ANGLES
    for frame in range(FRAMES):
        falling = _motion_blur(flakes, first + step * frame, radius, sigma).to(torch.float32)
        yield truncate_to_uint8(ground + falling + falling.rot90(2, (2, 3)))


def _motion_blur(values: Tensor, degrees: float, radius: float, sigma: float) -> Tensor:
    """Blurs all images along the same angle."""
    positions = torch.zeros(len(values))
    return round_to_uint8(blur_along(values, positions, (degrees, degrees), radius=radius, sigma=sigma))


def _frame(pixels: Tensor, name: str, strengths: Strengths, frame: int) -> Tensor:
    """One frame of a perturbation without random numbers."""
    steps = float(frame - _MIDDLE)
    values = pixels.to(torch.float32)
    match name:
        case "motion_blur":
            (radius, sigma), (first, step) = strengths.motion, strengths.motion_angles
            return _motion_blur(values, first + step * frame, radius, sigma)
        case "brightness":
            return brightness(pixels, steps * strengths.brightness)
        case "gaussian_blur":
            first, step = strengths.gaussian_blur
            return gaussian_blur(pixels, first + step * frame)
        case "translate":
            return _shift(pixels, strengths.shifts[0] + frame)
        case "rotate":
            return truncate_to_uint8(_warp(values, _rotation(steps)))
        case "shear":
            return truncate_to_uint8(_warp(values, _shearing(steps)))
        case "scale":
            first, step = strengths.scale
            return truncate_to_uint8(_warp(values, _scaling(first + step * frame)))
        case _:
            assert name == "tilt"
            return round_to_uint8(_tilt(values, steps * strengths.tilt))


def _shift(pixels: Tensor, right: int) -> Tensor:
    """Moves the images by whole pixels to the right; a negative number moves them to the left."""
    size = pixels.shape[-1]
    moved = torch.zeros_like(pixels)
    if abs(right) < size:
        moved[..., max(right, 0) : size + min(right, 0)] = pixels[..., max(-right, 0) : size - max(right, 0)]
    return moved


def _rotation(degrees: float) -> list[list[float]]:
    """The inverse of a rotation about the center; positive is clockwise."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [[cosine, sine], [-sine, cosine]]


def _scaling(factor: float) -> list[list[float]]:
    """The inverse of an enlargement about the center."""
    return [[1 / factor, 0.0], [0.0, 1 / factor]]


def _shearing(degrees: float) -> list[list[float]]:
    """The inverse of a shear that moves the lower rows to the left."""
    return [[1.0, math.tan(math.radians(degrees))], [0.0, 1.0]]


def _warp(values: Tensor, inverse: list[list[float]]) -> Tensor:
    """Applies an affine map about the center, given by its inverse matrix, from output to input positions.

    As in Pillow, values are interpolated linearly between pixel centers, border pixels extend to the image's edge, and
    the area beyond is black.
    """
    size = values.shape[-1]
    steps = torch.arange(size, dtype=torch.float64) + 0.5 - size / 2
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    source_right = inverse[0][0] * right + inverse[0][1] * down
    source_down = inverse[1][0] * right + inverse[1][1] * down
    inside = (source_right.abs() <= size / 2) & (source_down.abs() <= size / 2)
    grid = (torch.stack((source_right, source_down), dim=2) * (2 / size)).to(values.device, torch.float32)
    sampled = F.grid_sample(
        values, grid.expand(len(values), -1, -1, -1), mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled.mul_(inside.to(values.device))


def _tilt(values: Tensor, degrees: float) -> Tensor:
    """Rotates the images by an angle about both axes in their plane, seen from a diagonal's length away."""
    size = values.shape[-1]
    grid = _tilt_grid(size, math.radians(degrees)).to(values.device, torch.float32)
    return F.grid_sample(
        values, grid.expand(len(values), -1, -1, -1), mode="bilinear", padding_mode="zeros", align_corners=True
    )


def _tilt_grid(size: int, angle: float) -> Tensor:
    """The source of each pixel of a tilted image, on a scale from -1 (first pixel) to 1 (last): [S, S, 2]."""
    focus = math.sqrt(2) * size
    cosine, sine = math.cos(angle), math.sin(angle)
    # The third row: the published matrix places the image one unit in front of the axes of rotation.
    center = _matrix([1, 0, -size / 2], [0, 1, -size / 2], [0, 0, 1], [0, 0, 1])
    about_x = _matrix([1, 0, 0, 0], [0, cosine, -sine, 0], [0, sine, cosine, 0], [0, 0, 0, 1])
    about_y = _matrix([cosine, 0, -sine, 0], [0, 1, 0, 0], [sine, 0, cosine, 0], [0, 0, 0, 1])
    away = _matrix([1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, focus], [0, 0, 0, 1])
    onto = _matrix([focus, 0, size / 2, 0], [0, focus, size / 2, 0], [0, 0, 1, 0])
    inverse = torch.linalg.inv(onto @ away @ about_x @ about_y @ center)
    steps = torch.arange(size, dtype=torch.float64)
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    sources = torch.stack((right, down, torch.ones_like(right)), dim=2) @ inverse.T
    grid: Tensor = sources[..., :2] / sources[..., 2:] * (2 / (size - 1)) - 1
    return grid


def _matrix(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)
