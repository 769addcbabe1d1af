"""Contrast, pixelate, JPEG, saturate and elastic transform against the published formulas, with the same numbers."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from color_references import through_hsv
from corruption_references import SEED, as_bytes, as_image, assert_close, images, uniforms
from noisystudent.evaluation.corruptions.generate import corrupt
from noisystudent.evaluation.corruptions.tables import SEVERITIES, TABLES, level_of

INDEX = torch.tensor([40, 3])


@pytest.mark.parametrize("table", [32, 224])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_is_relative_to_the_mean_of_each_channel(table, severity):
    clean = images(2, 40)
    given = corrupt(clean, "contrast", severity, index=INDEX, seed=SEED, table=table)
    (factor,) = level_of("contrast", severity, table)
    for image, changed in zip(clean, given, strict=True):
        values = as_image(image)
        mean = values.mean(axis=(0, 1), keepdims=True)
        assert_close(changed, as_bytes((values - mean) * factor + mean), apart=0.01)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("size", [28, 65])
def test_pixelate_matches_pillow_bit_for_bit(table, severity, size):
    clean = images(2, size)
    given = corrupt(clean, "pixelate", severity, index=INDEX, seed=SEED, table=table)
    (factor,) = level_of("pixelate", severity, table)
    for image, changed in zip(clean, given, strict=True):
        small = Image.fromarray(image.permute(1, 2, 0).numpy()).resize([int(size * factor)] * 2, Image.Resampling.BOX)
        expected = np.asarray(small.resize((size, size), Image.Resampling.BOX))
        np.testing.assert_array_equal(changed.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_jpeg_matches_pillow(channels, severity):
    clean = images(2, 40, channels)
    given = corrupt(clean, "jpeg_compression", severity, index=INDEX, seed=SEED, table=224)
    for image, changed in zip(clean, given, strict=True):
        buffer = io.BytesIO()
        color = image.expand(3, -1, -1).permute(1, 2, 0).numpy()
        Image.fromarray(color).save(buffer, "JPEG", quality=(25, 18, 15, 10, 7)[severity - 1])
        expected = np.asarray(Image.open(buffer))
        np.testing.assert_array_equal(changed.permute(1, 2, 0).numpy(), expected[..., :channels])


@pytest.mark.parametrize("table", [32, 64, 224])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_saturate(table, severity):
    clean = images(2, 32)
    given = corrupt(clean, "saturate", severity, index=INDEX, seed=SEED, table=table)
    factor, addition = level_of("saturate", severity, table)
    for image, changed in zip(clean, given, strict=True):
        vivid = through_hsv(as_image(image), lambda h, s, v: (h, min(s * factor + addition, 1), v))
        assert_close(changed, as_bytes(vivid + 1e-9), apart=0.01)


def test_saturating_a_gray_makes_it_red_or_its_luma():
    gray = torch.full((1, 3, 8, 8), 200, dtype=torch.uint8)
    red = corrupt(gray, "saturate", 5, index=INDEX[:1], seed=SEED, table=224)
    assert red[0, :, 0, 0].tolist() == [200, 160, 160]
    alone = corrupt(gray[:, :1], "saturate", 5, index=INDEX[:1], seed=SEED, table=224)
    assert alone.unique().tolist() == [int(0.299 * 200 + 0.701 * 160)]


def elastic_reference(image: np.ndarray, level: tuple[float, ...], numbers: np.ndarray) -> np.ndarray:
    """The published elastic transform, with its affine map from six equations."""
    alpha, sigma, jitter = level
    size = len(image)
    middle, reach = size // 2, size // 3
    before = np.array([[middle + reach] * 2, [middle + reach, middle - reach], [middle - reach] * 2], dtype=float)
    after = before + (2 * numbers[:6].reshape(3, 2) - 1) * jitter
    forward = np.linalg.solve(np.c_[after, np.ones(3)], before).T  # from a new position to the old one
    rows, columns = np.mgrid[:size, :size]
    x, y = np.tensordot(forward, np.stack([columns, rows, np.ones_like(rows)]), axes=1)
    planes = image.transpose(2, 0, 1)
    moved = np.stack([ndimage.map_coordinates(plane, [y, x], order=1, mode="mirror") for plane in planes])
    noise = 2 * numbers[6 : 6 + 2 * size * size].reshape(2, size, size) - 1
    if sigma > 0:
        noise = np.stack([ndimage.gaussian_filter(field, sigma, mode="reflect", truncate=3) for field in noise])
    positions = [rows + alpha * noise[1], columns + alpha * noise[0]]
    return np.stack([ndimage.map_coordinates(plane, positions, order=1, mode="reflect") for plane in moved], axis=-1)


@pytest.mark.parametrize(("table", "size"), [(32, 32), (64, 64), (224, 64), (299, 61)])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_transform(table, size, severity):
    clean = images(2, size)
    given = corrupt(clean, "elastic_transform", severity, index=INDEX, seed=SEED, table=table)
    for image, index, changed in zip(clean, INDEX.tolist(), given, strict=True):
        numbers = uniforms("elastic_transform", severity, index, 6 + 2 * size * size)
        expected = elastic_reference(as_image(image), level_of("elastic_transform", severity, table), numbers)
        assert_close(changed, as_bytes(expected + 1e-9), apart=0.02)
