"""ImageNet-P's sequences: images under a perturbation that grows, turns or moves from frame to frame.

Hendrycks and Dietterich 2019, section 3.2, and their published generators for images of 32, 64 and 224 px. What lies
beyond an image's border is black: the published ones for ImageNet are cut from larger images, so that translations
and turns there show a little more; here there are only the images themselves. Their videos are also compressed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from noisystudent.errors import SettingsError, nearest_name
from noisystudent.evaluation.corruptions.filters.blur import enlarged, gaussian_blur, kept_by_zoom
from noisystudent.evaluation.corruptions.filters.levels import cut_off, gray, rounded
from noisystudent.evaluation.corruptions.filters.motion import blurred_along
from noisystudent.evaluation.corruptions.filters.noise import gaussian_noise, shot_noise, speckle_noise
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields
from noisystudent.evaluation.corruptions.filters.weather import brightness
from noisystudent.evaluation.corruptions.tables import PERTURBATIONS
from noisystudent.noise.counter_rng import CounterRng

FRAMES = 31  # of a sequence, unless its own count says otherwise


@dataclass(frozen=True)
class Strengths:
    """The published numbers for one image size; noise by difficulty 1 to 3, angles in degrees.

    A line (first, step) gives frame i the value first + step i.
    """

    gaussian_noise: tuple[float, float, float]
    shot_noise: tuple[float, float, float]
    speckle_noise: tuple[float, float, float]
    motion: tuple[float, float]  # radius and sigma
    motion_angles: tuple[float, float]
    motion_frames: int
    snow: tuple[float, float, float, float, float, float]  # location, scale, zoom, threshold, radius, sigma
    brightness: float  # step around 0 in the middle frame
    shifts: tuple[int, int]  # the first shift in pixels, and how many frames
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
_MIDDLE = 15  # the frame of a turn, tilt, shear or brightness that changes nothing
_KEPT_UNDER_SNOW = 0.85


def strengths_for(size: int) -> int:
    """The published image size that is nearest to ``size`` by ratio: 32, 64 or 224 pixels."""
    return min(STRENGTHS, key=lambda published: abs(math.log(published / size)))


def frames_of(name: str, table: int) -> int:
    """How many frames a sequence has."""
    return {"motion_blur": STRENGTHS[table].motion_frames, "translate": STRENGTHS[table].shifts[1]}.get(name, FRAMES)


def sequence(
    pixels: Tensor, name: str, *, index: Tensor, seed: int, table: int | None = None, difficulty: int = 1
) -> Iterator[Tensor]:
    """The frames of the images' sequences one after another: uint8 [B, C, S, S] each, as the images are.

    ``index`` int64 [B] addresses each image's own random numbers, as for corruptions. ``difficulty`` 1 to 3 makes
    noise stronger; other frames are told apart by the distance at which they are compared. Frame 0 is the image
    itself only for noise and ``zoom_blur``. Raises ``SettingsError`` for a perturbation, table or difficulty that does
    not exist.
    """
    if name not in PERTURBATIONS:
        raise SettingsError(
            f"There is no perturbation {name!r}.{nearest_name(name, PERTURBATIONS)} There are "
            f"{', '.join(PERTURBATIONS)}."
        )
    table = strengths_for(pixels.shape[-1]) if table is None else table
    if table not in STRENGTHS:
        raise SettingsError(f"Perturbations were published for images of 32, 64 and 224 pixels, not of {table}.")
    if difficulty not in (1, 2, 3):
        raise SettingsError(f"The difficulty of perturbations is {difficulty}, and may be 1, 2 or 3.")
    strengths = STRENGTHS[table]
    stream = f"perturbation/{name}/{difficulty}"
    match name:
        case "gaussian_noise" | "shot_noise" | "speckle_noise":
            return _noisy(pixels, name, getattr(strengths, name)[difficulty - 1], index, seed, stream)
        case "zoom_blur":
            return _zooming(pixels)
        case "snow":
            return _snowing(pixels, strengths, RandomFields(CounterRng(seed, stream), index))
        case _:
            frames = range(frames_of(name, table))
            return (_gradual(pixels, name, strengths, frame) for frame in frames)


def _noisy(pixels: Tensor, name: str, strength: float, index: Tensor, seed: int, stream: str) -> Iterator[Tensor]:
    """The image, then the image under new noise again and again."""
    add = {"gaussian_noise": gaussian_noise, "shot_noise": shot_noise, "speckle_noise": speckle_noise}[name]
    yield pixels
    for frame in range(1, FRAMES):
        yield add(pixels, RandomFields(CounterRng(seed, f"{stream}/{frame}"), index), strength)


def _zooming(pixels: Tensor) -> Iterator[Tensor]:
    """The mean of the image and ever larger enlargements of it."""
    values = pixels.to(torch.float32)
    total = values.clone()
    yield pixels
    for frame in range(1, FRAMES):
        total += cut_off(_warped(values, _scaling(1 + _ZOOM_STEP * frame))).to(torch.float32)
        yield cut_off(total / (frame + 1))


def _snowing(pixels: Tensor, strengths: Strengths, fields: RandomFields) -> Iterator[Tensor]:
    """The same flakes, falling at an angle that turns; each image is whitened a little."""
    location, scale, zoom, threshold, radius, sigma = strengths.snow
    size = pixels.shape[-1]
    cut = kept_by_zoom(size, zoom)
    noise = fields.normal(1, cut, cut).mul_(scale).add_(location)
    layer = enlarged(noise, zoom, size)
    flakes = cut_off(layer.where(layer >= threshold, 0.0).mul(255.0)).to(torch.float32)
    values = pixels.to(torch.float32)
    white = gray(values).mul(1.5).add_(127.5).maximum(values)
    ground = values.mul(_KEPT_UNDER_SNOW).add_(white, alpha=1 - _KEPT_UNDER_SNOW)
    first, step = _SNOW_ANGLES
    for frame in range(FRAMES):
        falling = _blurred(flakes, first + step * frame, radius, sigma).to(torch.float32)
        yield cut_off(ground + falling + falling.rot90(2, (2, 3)))


def _blurred(values: Tensor, degrees: float, radius: float, sigma: float) -> Tensor:
    """All images blurred along one angle, in gray levels."""
    everywhere = torch.zeros(len(values))
    return rounded(blurred_along(values, everywhere, (degrees, degrees), radius=radius, sigma=sigma))


def _gradual(pixels: Tensor, name: str, strengths: Strengths, frame: int) -> Tensor:
    """A frame that is a function of the image and its number alone."""
    turned = float(frame - _MIDDLE)
    values = pixels.to(torch.float32)
    match name:
        case "motion_blur":
            (radius, sigma), (first, step) = strengths.motion, strengths.motion_angles
            return _blurred(values, first + step * frame, radius, sigma)
        case "brightness":
            return brightness(pixels, turned * strengths.brightness)
        case "gaussian_blur":
            first, step = strengths.gaussian_blur
            return gaussian_blur(pixels, first + step * frame)
        case "translate":
            return _shifted(pixels, strengths.shifts[0] + frame)
        case "rotate":
            return cut_off(_warped(values, _rotation(turned)))
        case "shear":
            return cut_off(_warped(values, _shearing(turned)))
        case "scale":
            first, step = strengths.scale
            return cut_off(_warped(values, _scaling(first + step * frame)))
        case _:
            assert name == "tilt"
            return rounded(_tilted(values, turned * strengths.tilt))


def _shifted(pixels: Tensor, right: int) -> Tensor:
    """The images moved by whole pixels to the right, or for a negative number to the left."""
    size = pixels.shape[-1]
    moved = torch.zeros_like(pixels)
    if abs(right) < size:
        moved[..., max(right, 0) : size + min(right, 0)] = pixels[..., max(-right, 0) : size - max(right, 0)]
    return moved


def _rotation(degrees: float) -> list[list[float]]:
    """From a turned image back, about the middle; positive is clockwise."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [[cosine, sine], [-sine, cosine]]


def _scaling(factor: float) -> list[list[float]]:
    return [[1 / factor, 0.0], [0.0, 1 / factor]]


def _shearing(degrees: float) -> list[list[float]]:
    """From an image whose rows are pushed aside, the lower ones to the left."""
    return [[1.0, math.tan(math.radians(degrees))], [0.0, 1.0]]


def _warped(values: Tensor, back: list[list[float]]) -> Tensor:
    """Images of which each pixel, seen from the middle, is taken from where the matrix ``back`` says.

    As Pillow does it: linear between the middles of pixels, the border pixels go on to the edge, black beyond.
    """
    size = values.shape[-1]
    steps = torch.arange(size, dtype=torch.float64) + 0.5 - size / 2
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    at_right = back[0][0] * right + back[0][1] * down
    at_down = back[1][0] * right + back[1][1] * down
    inside = (at_right.abs() <= size / 2) & (at_down.abs() <= size / 2)
    grid = (torch.stack((at_right, at_down), dim=2) * (2 / size)).to(values.device, torch.float32)
    sampled = F.grid_sample(
        values, grid.expand(len(values), -1, -1, -1), mode="bilinear", padding_mode="border", align_corners=False
    )
    return sampled.mul_(inside.to(values.device))


def _tilted(values: Tensor, degrees: float) -> Tensor:
    """Images turned by an angle about both axes that lie in them, as seen from a diagonal's length away."""
    size = values.shape[-1]
    grid = _tilt_grid(size, math.radians(degrees)).to(values.device, torch.float32)
    return F.grid_sample(
        values, grid.expand(len(values), -1, -1, -1), mode="bilinear", padding_mode="zeros", align_corners=True
    )


def _tilt_grid(size: int, angle: float) -> Tensor:
    """Where each pixel of a tilted image comes from, on the scale from -1 (first pixel) to 1 (last): [S, S, 2]."""
    focus = math.sqrt(2) * size
    cosine, sine = math.cos(angle), math.sin(angle)
    # The third row: the published matrix has the image one unit before the axes that it is turned about.
    center = _matrix([1, 0, -size / 2], [0, 1, -size / 2], [0, 0, 1], [0, 0, 1])
    about_x = _matrix([1, 0, 0, 0], [0, cosine, -sine, 0], [0, sine, cosine, 0], [0, 0, 0, 1])
    about_y = _matrix([cosine, 0, -sine, 0], [0, 1, 0, 0], [sine, 0, cosine, 0], [0, 0, 0, 1])
    away = _matrix([1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, focus], [0, 0, 0, 1])
    onto = _matrix([focus, 0, size / 2, 0], [0, focus, size / 2, 0], [0, 0, 1, 0])
    back = torch.linalg.inv(onto @ away @ about_x @ about_y @ center)
    steps = torch.arange(size, dtype=torch.float64)
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    places = torch.stack((right, down, torch.ones_like(right)), dim=2) @ back.T
    grid: Tensor = places[..., :2] / places[..., 2:] * (2 / (size - 1)) - 1
    return grid


def _matrix(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)
