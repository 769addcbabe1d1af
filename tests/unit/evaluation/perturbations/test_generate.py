"""Generated perturbation sequences against torchvision on Pillow images, SciPy and statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as transforms
from PIL import Image
from scipy.ndimage import map_coordinates
from torchvision.transforms import InterpolationMode

from noisystudent.errors import SettingsError
from noisystudent.evaluation.corruptions.tables import EXTRA_PERTURBATIONS, PERTURBATIONS, TEST_PERTURBATIONS
from noisystudent.evaluation.perturbations.generate import (
    STRENGTHS,
    frames_of,
    sequence,
    strengths_for,
)

SIZES = {32: 32, 64: 64, 224: 48}  # by table; smaller than published for the largest one, to save time


def image(size: int) -> np.ndarray:
    blocks = np.random.default_rng(0).random((size // 4, size // 4, 3))
    return (np.kron(blocks, np.ones((4, 4, 1))) * 255).astype(np.uint8)


def frames(name: str, table: int, *, seed: int = 0, difficulty: int = 1, index: int = 3) -> list[np.ndarray]:
    pixels = torch.from_numpy(image(SIZES[table])).permute(2, 0, 1)[None]
    sequence_frames = sequence(pixels, name, index=torch.tensor([index]), seed=seed, table=table, difficulty=difficulty)
    return [frame[0].permute(1, 2, 0).numpy().astype(int) for frame in sequence_frames]


@pytest.mark.parametrize("table", STRENGTHS)
@pytest.mark.parametrize("name", PERTURBATIONS)
def test_every_sequence_has_its_number_of_frames(name, table):
    sequence_frames = frames(name, table)
    assert len(sequence_frames) == frames_of(name, table)
    assert {frame.shape for frame in sequence_frames} == {(SIZES[table], SIZES[table], 3)}
    assert not np.array_equal(sequence_frames[0], sequence_frames[-1])


def test_the_published_numbers_of_frames():
    assert [frames_of("translate", table) for table in (32, 64, 224)] == [16, 31, 41]
    assert [frames_of("motion_blur", table) for table in (32, 64, 224)] == [21, 31, 31]
    assert {frames_of(name, 224) for name in PERTURBATIONS if name != "translate"} == {31}
    assert (len(TEST_PERTURBATIONS), len(EXTRA_PERTURBATIONS)) == (10, 3)


@pytest.mark.parametrize("table", STRENGTHS)
def test_rotations_shears_and_scales_match_torchvision_on_pillow_images(table):
    """To one gray level: this package interpolates in float32, Pillow in float64, and both truncate the result."""
    given = Image.fromarray(image(SIZES[table]))
    first, step = {32: (0.70, 0.02), 64: (0.40, 0.025), 224: (0.40, 0.025)}[table]
    for frame in (0, 7, 15, 22, 30):
        expected = {
            "rotate": {"angle": frame - 15, "scale": 1.0, "shear": 0},
            "shear": {"angle": 0, "scale": 1.0, "shear": frame - 15},
            "scale": {"angle": 0, "scale": first + step * frame, "shear": 0},
        }
        for name, parameters in expected.items():
            moved = transforms.affine(given, translate=[0, 0], interpolation=InterpolationMode.BILINEAR, **parameters)
            assert np.abs(frames(name, table)[frame] - np.asarray(moved).astype(int)).max() <= 1, (name, frame)


@pytest.mark.parametrize(("table", "first"), [(32, -7), (64, -15), (224, -20)])
def test_shifts_are_whole_pixels_to_the_right(table, first):
    given = Image.fromarray(image(SIZES[table]))
    for frame, shifted in enumerate(frames("translate", table)):
        moved = transforms.affine(given, angle=0, translate=[first + frame, 0], scale=1, shear=0)
        assert np.array_equal(shifted, np.asarray(moved)), frame


@pytest.mark.parametrize(("table", "step"), [(32, 0.75), (64, 1.0)])
def test_tilts_are_rotations_about_both_axes_in_perspective(table, step):
    """Point by point: rotated about the center in space, seen from a diagonal away, and interpolated by SciPy."""
    size = SIZES[table]
    values = image(size).astype(float)
    down, right = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    focus = math.hypot(size, size)
    for frame in (0, 11, 30):
        angle = math.radians(step * (frame - 15))
        cosine, sine = math.cos(angle), math.sin(angle)

        def project(x, y, cosine=cosine, sine=sine):
            x, y, z = x - size / 2, y - size / 2, 1.0
            x, z = cosine * x - sine * z, sine * x + cosine * z
            y, z = cosine * y - sine * z, sine * y + cosine * z
            return focus * x / (z + focus) + size / 2, focus * y / (z + focus) + size / 2

        # Inverted by iteration, independently of the package's matrices.
        x, y = right.astype(float), down.astype(float)
        for _ in range(60):
            at_x, at_y = project(x, y)
            x, y = x + right - at_x, y + down - at_y
        expected = np.stack(
            [map_coordinates(values[..., c], [y, x], order=1, mode="grid-constant", cval=0) for c in range(3)], axis=2
        )
        assert np.abs(frames("tilt", table)[frame] - expected).max() <= 1, frame


def test_a_zoom_is_the_mean_of_all_enlargements_so_far():
    given = Image.fromarray(image(32))
    sequence_frames = frames("zoom_blur", 32)
    total = np.asarray(given).astype(float)
    for frame in range(1, 31):
        larger = transforms.affine(
            given, angle=0, translate=[0, 0], scale=1 + 0.004 * frame, shear=0, interpolation=InterpolationMode.BILINEAR
        )
        total += np.asarray(larger)
        assert np.abs(sequence_frames[frame] - total / (frame + 1)).max() <= 2
    assert np.array_equal(sequence_frames[0], np.asarray(given))


@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_noise_begins_with_the_image_and_has_the_published_deviation(difficulty):
    sigma = STRENGTHS[64].gaussian_noise[difficulty - 1]
    sequence_frames = frames("gaussian_noise", 64, difficulty=difficulty)
    given = image(64).astype(int)
    assert np.array_equal(sequence_frames[0], given)
    inner = (given > 90) & (given < 165)  # nothing is clipped in this range: the strongest noise is 0.075
    changes = np.stack(sequence_frames[1:])[:, inner] - given[inner]
    # Truncation subtracts half a level on average and adds a twelfth to the variance.
    count = changes.size
    assert changes.mean() == pytest.approx(-0.5, abs=4 * 255 * sigma / math.sqrt(count))
    assert changes.std() == pytest.approx(math.hypot(255 * sigma, 12**-0.5), rel=4 / math.sqrt(2 * count))
    assert not np.array_equal(sequence_frames[1], sequence_frames[2])


def test_the_middle_frame_of_symmetric_perturbations_is_the_image():
    for name in ("brightness", "rotate", "shear"):
        assert np.array_equal(frames(name, 32)[15], image(32)), name


def test_brightness_grows_by_its_step():
    means = [frame.max(axis=2).mean() for frame in frames("brightness", 32)]
    value = image(32).max(axis=2)
    for frame, mean in enumerate(means):
        expected = np.clip(value + 255 * 0.015 * (frame - 15), 0, 255)
        assert mean == pytest.approx(expected.mean(), abs=1)


def test_snow_whitens_and_falls_on_both_halves():
    sequence_frames = frames("snow", 64)
    given = image(64).astype(float)
    gray = (given * [0.299, 0.587, 0.114]).sum(axis=2, keepdims=True)
    ground = 0.85 * given + 0.15 * np.maximum(given, 1.5 * gray + 127.5)
    for frame in sequence_frames:
        snow = frame - np.floor(np.minimum(ground, 255))
        assert snow.min() >= -1
        assert (snow > 5).mean() > 0.005
        # If nothing is saturated, the flakes are the same after a rotation by 180 degrees.
        flakes = np.where(frame.max(axis=2) < 255, snow.mean(axis=2), np.nan)
        difference = np.abs(flakes - flakes[::-1, ::-1])
        assert np.nanmax(difference) <= 2


def test_a_sequence_depends_only_on_seed_and_index():
    pixels = torch.from_numpy(np.stack([image(32), image(32)])).permute(0, 3, 1, 2)
    both = list(sequence(pixels, "shot_noise", index=torch.tensor([7, 3]), seed=0))
    alone = frames("shot_noise", 32)
    for frame, expected in zip(both, alone, strict=True):
        assert np.array_equal(frame[1].permute(1, 2, 0).numpy(), expected)
    assert not np.array_equal(frames("shot_noise", 32, seed=1)[1], alone[1])


def test_the_table_of_the_nearest_size_is_used():
    assert [strengths_for(size) for size in (16, 32, 44, 46, 64, 119, 120, 224, 600)] == [
        32, 32, 32, 64, 64, 64, 224, 224, 224,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "rotat"}, r"no perturbation 'rotat'.*rotate"),
        ({"table": 48}, "not of 48"),
        ({"difficulty": 4}, "difficulty of perturbations must be 1, 2 or 3, not 4"),
    ],
)
def test_unknown_names_tables_and_difficulties_are_refused(arguments, message):
    pixels = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(SettingsError, match=message):
        sequence(pixels, **{"name": "rotate", "index": torch.tensor([0]), "seed": 0, **arguments})
