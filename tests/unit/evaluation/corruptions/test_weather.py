"""Snow, frost, fog, brightness and spatter against the published formulas in NumPy, with the same numbers."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from blur_references import imagemagick_blur
from color_references import through_hsv
from corruption_references import SEED, as_bytes, as_image, assert_close, images, normals, uniforms
from noisystudent.errors import DataError
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields
from noisystudent.evaluation.corruptions.filters.spatter import _distance_transform, _equalize, canny
from noisystudent.evaluation.corruptions.filters.weather import plasma
from noisystudent.evaluation.corruptions.generate import corrupt
from noisystudent.evaluation.corruptions.tables import SEVERITIES, level_of
from noisystudent.noise.counter_rng import CounterRng

INDEX = torch.tensor([40, 3])


def luma(image: np.ndarray) -> np.ndarray:
    return (image * [0.299, 0.587, 0.114]).sum(axis=2, keepdims=True)


def snow_reference(image: np.ndarray, level: tuple[float, ...], numbers: np.ndarray) -> np.ndarray:
    location, scale, zoom, threshold, radius, sigma, image_weight = level
    size = len(image)
    cut = math.ceil(size / zoom)
    layer = normals(numbers[1 : 1 + cut * cut]).reshape(cut, cut) * scale + location
    whole = ndimage.zoom(layer, zoom, order=1)
    trim = (len(whole) - size) // 2
    layer = whole[trim : trim + size, trim : trim + size].copy()
    layer[layer < threshold] = 0
    flakes = as_bytes(layer)[..., None].astype(float)
    falling = np.floor(imagemagick_blur(flakes, numbers[0] * 90 - 135, radius, sigma) + 0.5) / 255
    white = image_weight * image + (1 - image_weight) * np.maximum(image, luma(image) * 1.5 + 0.5)
    return white + falling + np.rot90(falling, 2)


@pytest.mark.parametrize(("table", "size"), [(32, 32), (64, 64), (224, 40), (224, 224)])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow(table, size, severity):
    clean = images(2, size)
    given = corrupt(clean, "snow", severity, index=INDEX, seed=SEED, table=table)
    for image, index, changed in zip(clean, INDEX.tolist(), given, strict=True):
        numbers = uniforms("snow", severity, index, 1 + size * size)
        expected = as_bytes(snow_reference(as_image(image), level_of("snow", severity, table), numbers) + 1e-9)
        assert_close(changed, expected, apart=0.02)


def published_plasma(size: int, decay: float, numbers: np.ndarray) -> np.ndarray:
    """The diamond-square algorithm point by point, on a torus."""
    heights, drawn = np.zeros((size, size)), iter(numbers.tolist())
    step, wibble = size, 100.0

    def mean_of(points, wibble):
        total = sum(heights[row % size, column % size] for row, column in points)
        return total / 4 + wibble * (2 * wibble * next(drawn) - wibble)

    while step >= 2:
        half = step // 2
        grid = range(0, size, step)
        for row in grid:
            for column in grid:
                square = [(row, column), (row + step, column), (row, column + step), (row + step, column + step)]
                heights[row + half, column + half] = mean_of(square, wibble)
        for rows, columns in ((0, half), (half, 0)):
            for row in grid:
                for column in grid:
                    y, x = row + rows, column + columns
                    diamond = [(y - half, x), (y + half, x), (y, x - half), (y, x + half)]
                    heights[y, x] = mean_of(diamond, wibble)
        step, wibble = half, wibble / decay
    heights -= heights.min()
    return heights / heights.max()


@pytest.mark.parametrize(("size", "decay"), [(8, 3.0), (32, 1.75), (64, 1.4)])
def test_plasma_is_the_diamond_square_algorithm(size, decay):
    rng, index = CounterRng(SEED, "corruption/fog/1"), torch.tensor([5, 6])
    given = plasma(RandomFields(rng, index), size, decay)
    for cloud, number in zip(given, index.tolist(), strict=True):
        numbers = uniforms("fog", 1, number, size * size - 1)
        np.testing.assert_allclose(cloud.numpy(), published_plasma(size, decay, numbers), atol=2e-6)


@pytest.mark.parametrize(("table", "size", "map_size"), [(32, 32, 32), (64, 50, 64), (224, 40, 64)])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog(table, size, map_size, severity):
    clean = images(2, size) // 2 + 40
    given = corrupt(clean, "fog", severity, index=INDEX, seed=SEED, table=table)
    strength, decay = level_of("fog", severity, table)
    for image, index, changed in zip(clean, INDEX.tolist(), given, strict=True):
        cloud = published_plasma(map_size, decay, uniforms("fog", severity, index, map_size**2 - 1))
        values = as_image(image)
        brightest = values.max()
        foggy = (values + strength * cloud[:size, :size, None]) * brightest / (brightest + strength)
        assert_close(changed, as_bytes(foggy), apart=0.01)


@pytest.mark.parametrize("table", [32, 224])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness(table, severity):
    clean = images(2, 32)
    given = corrupt(clean, "brightness", severity, index=INDEX, seed=SEED, table=table)
    (addition,) = level_of("brightness", severity, table)
    for image, changed in zip(clean, given, strict=True):
        bright = through_hsv(as_image(image), lambda h, s, v: (h, s, min(v + addition, 1)))
        # Adding a whole level (0.2 is 51) gives whole levels, from which float64 differs in its last bit.
        assert_close(changed, as_bytes(bright + 1e-9), apart=0.01)


@pytest.fixture(scope="module")
def textures(tmp_path_factory) -> Path:
    """Seven textures of noise; only the first five by name may be used, so the sixth and seventh are black."""
    folder = tmp_path_factory.mktemp("frost")
    random = np.random.default_rng(0)
    for number in range(1, 8):
        texture = random.integers(1, 256, (320 + number, 330, 3), dtype=np.uint8) * (number < 6)
        Image.fromarray(texture.astype(np.uint8)).save(folder / f"frost{number}.png")
    return folder


@pytest.mark.parametrize(("table", "size"), [(32, 32), (64, 64), (64, 96), (224, 224), (299, 32)])
@pytest.mark.parametrize("severity", [1, 5])
def test_frost(table, size, severity, textures):
    clean = images(6, size)
    index = torch.arange(6)
    given = corrupt(clean, "frost", severity, index=index, seed=SEED, table=table, frost_textures=textures)
    image_weight, ice_weight, _ = level_of("frost", severity, table)
    for image, number, changed in zip(clean, index.tolist(), given, strict=True):
        which, row, column = uniforms("frost", severity, number, 3)
        texture = np.asarray(Image.open(textures / f"frost{int(which * 5) + 1}.png")).astype(float)
        scale = level_of("frost", severity, table)[2] * size / table
        if scale != 1:
            shape = [round(edge * scale) for edge in texture.shape[:2]]
            positions = [np.clip((np.arange(edge) + 0.5) / scale - 0.5, 0, None) for edge in shape]
            grid = np.meshgrid(*positions, indexing="ij")
            texture = np.stack(
                [ndimage.map_coordinates(plane, grid, order=1, mode="nearest") for plane in texture.transpose(2, 0, 1)],
                -1,
            )
            texture = np.floor(texture + 0.5)
        top, left = int(row * (len(texture) - size)), int(column * (texture.shape[1] - size))
        ice = texture[top : top + size, left : left + size]
        expected = np.clip(image_weight * as_image(image) * 255 + ice_weight * ice + 1e-9, 0, 255).astype(np.uint8)
        assert_close(changed, expected, apart=0.003)


def test_frost_without_textures_explains_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("noisystudent.evaluation.corruptions.filters.frost._installed_folder", lambda: None)
    clean = images(1, 32)
    with pytest.raises(DataError, match=r"photographs of frosted glass.*frost_textures.*imagecorruptions-imaug"):
        corrupt(clean, "frost", 1, index=INDEX[:1], seed=SEED)
    with pytest.raises(DataError, match="has no image"):
        corrupt(clean, "frost", 1, index=INDEX[:1], seed=SEED, frost_textures=tmp_path)
    Image.fromarray(np.zeros((50, 28, 3), dtype=np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(DataError, match="texture of 28 x 50 px is too small for images of 224 px"):
        corrupt(images(1, 224), "frost", 1, index=INDEX[:1], seed=SEED, frost_textures=tmp_path)


@pytest.mark.parametrize("table", [32, 64, 224])
@pytest.mark.parametrize("severity", [4, 5])
def test_mud(table, severity):
    clean = images(2, 48)
    given = corrupt(clean, "spatter", severity, index=INDEX, seed=SEED, table=table)
    location, scale, sigma, threshold, blur, mud = level_of("spatter", severity, table)
    assert mud == 1
    for image, index, changed in zip(clean, INDEX.tolist(), given, strict=True):
        noise = normals(uniforms("spatter", severity, index, 48 * 48)).reshape(48, 48) * scale + location
        liquid = ndimage.gaussian_filter(noise, sigma, mode="nearest")
        cover = ndimage.gaussian_filter((liquid > threshold).astype(float), blur, mode="nearest")
        cover = np.where(cover < 0.8, 0, cover)[..., None]
        values = as_image(image) * (1 - cover) + np.array([63, 42, 20]) / 255 * cover
        assert_close(changed, as_bytes(values + 1e-9), apart=0.01)


def test_water_brightens_where_drops_are_and_nowhere_else():
    clean = images(2, 64)
    given = corrupt(clean, "spatter", 1, index=INDEX, seed=SEED, table=64)
    location, scale, sigma, threshold, strength, mud = level_of("spatter", 1, 64)
    assert mud == 0
    for image, index, changed in zip(clean, INDEX.tolist(), given, strict=True):
        noise = normals(uniforms("spatter", 1, index, 64 * 64)).reshape(64, 64) * scale + location
        dry = ndimage.gaussian_filter(noise, sigma, mode="nearest") < threshold - 1e-6
        added = changed.int() - image.int()
        assert int(added.min()) >= 0
        assert int(added[:, torch.from_numpy(dry)].max()) == 0
        assert 0 < int(added.max()) <= 238 * strength + 1


def test_canny_edges_of_a_step_are_one_pixel_wide():
    levels = torch.zeros(1, 1, 20, 20, dtype=torch.uint8)
    levels[..., 10:] = 100
    edges = canny(levels)[0, 0]
    assert bool(edges[:, 9].all())  # the first of two equal gradients
    assert int(edges.sum()) == 20
    assert not bool(canny(levels // 10).any())


def test_weak_edges_remain_if_they_touch_strong_ones():
    levels = torch.zeros(1, 1, 20, 20, dtype=torch.uint8)
    levels[..., 10:] = 15  # a gradient of 60, between the thresholds
    assert not bool(canny(levels).any())
    heights = torch.tensor([max(60 - 5 * row, 15) for row in range(20)], dtype=torch.uint8)
    levels[..., 10:] = heights[:, None]  # a gradient above 150 only in the first rows
    assert bool(canny(levels)[0, 0, :, 9:11].any(dim=1).all())


def test_distances_are_chamfer_lengths():
    edges = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    edges[..., 30, 30] = True
    distance = _distance_transform(edges)[0, 0]
    for (row, column), expected in {
        (30, 35): 5.0,
        (33, 33): 3 * 1.4,
        (32, 31): 2.1969,
        (34, 35): 2.1969 + 3 * 1.4,
        (30, 60): 20.0,
    }.items():
        assert float(distance[row, column]) == pytest.approx(expected, abs=1e-5)


def test_an_equalized_histogram_is_flat():
    levels = torch.tensor([[0.0, 0.0, 1.0, 1.0], [1.0, 2.0, 3.0, 3.0]]).view(1, 1, 2, 4)
    # Without the two pixels of the darkest level, 6 are left: 255 times 3/6, 4/6 and 6/6.
    assert _equalize(levels).flatten().tolist() == [0, 0, 128, 128, 128, 170, 255, 255]
    assert _equalize(torch.full((1, 1, 4, 4), 7.0)).unique().tolist() == [7]
