"""The blurs against SciPy, the published loops and ImageMagick's definition."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from blur_references import imagemagick_blur
from corruption_references import SEED, as_bytes, as_image, assert_close, images, uniforms
from noisystudent.evaluation.corruptions.filters.blur import clipped_zoom, disk
from noisystudent.evaluation.corruptions.filters.edges import gaussian_filter, pad_edges, source_positions
from noisystudent.evaluation.corruptions.filters.glass import glass_blur
from noisystudent.evaluation.corruptions.filters.motion import _blur_by_kernels, _blur_by_shifts, _offsets, blur_along
from noisystudent.evaluation.corruptions.generate import corrupt
from noisystudent.evaluation.corruptions.tables import SEVERITIES, TABLES, level_of

INDEX = torch.tensor([40, 3])


def expected_of(name, severity, size, table, formula):
    """Pairs of a corrupted image and the result of ``formula(image, level, numbers)`` for the clean one."""
    clean = images(2, size)
    given = corrupt(clean, name, severity, index=INDEX, seed=SEED, table=table)
    level = level_of(name, severity, table)
    for image, index, changed in zip(clean, INDEX.tolist(), given, strict=True):
        numbers = uniforms(name, severity, index, 4 * size * size)
        yield changed, as_bytes(formula(as_image(image), level, numbers))


@pytest.mark.parametrize("mode", ["nearest", "reflect", "mirror"])
def test_edges_continue_as_in_scipy(mode):
    line = np.arange(5.0)
    numpys = {"nearest": "edge", "reflect": "symmetric", "mirror": "reflect"}[mode]
    np.testing.assert_array_equal(line[source_positions(np.arange(-13, 18), 5, mode)], np.pad(line, 13, mode=numpys))
    square = torch.arange(16.0).view(1, 1, 4, 4)
    padded = np.pad(square[0, 0].numpy(), 6, mode=numpys)
    np.testing.assert_array_equal(pad_edges(square, 6, mode)[0, 0].numpy(), padded)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 6.0, 30.0])
@pytest.mark.parametrize(("mode", "truncate"), [("nearest", 4.0), ("reflect", 3.0)])
def test_the_gaussian_filter_matches_scipy(sigma, mode, truncate):
    values = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    expected = ndimage.gaussian_filter(values.double().numpy(), (0, 0, sigma, sigma), mode=mode, truncate=truncate)
    given = gaussian_filter(values, sigma, truncate=truncate, edge=mode)
    np.testing.assert_allclose(given.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_blur(table, severity):
    def formula(image, level, numbers):
        return ndimage.gaussian_filter(image, (level[0], level[0], 0), mode="nearest")

    for given, expected in expected_of("gaussian_blur", severity, 40, table, formula):
        assert_close(given, expected, apart=0.12)  # flat areas are whole levels


def published_disk(radius: float, alias_sigma: float) -> np.ndarray:
    """The generator's kernel in float64, OpenCV's small Gaussian written as SciPy's correlation."""
    steps = np.arange(-8, 9) if radius <= 8 else np.arange(-radius, radius + 1)
    x, y = np.meshgrid(steps, steps)
    kernel = (x**2 + y**2 <= radius**2).astype(float)
    kernel /= kernel.sum()
    taps = np.arange(3) - 1 if radius <= 8 else np.arange(5) - 2
    weights = np.exp(-(taps**2) / (2 * alias_sigma**2))
    for axis in (0, 1):
        kernel = ndimage.correlate1d(kernel, weights / weights.sum(), axis=axis, mode="mirror")
    return kernel


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_defocus_blur(table, severity):
    def formula(image, level, numbers):
        kernel = published_disk(*level)
        return np.stack([ndimage.correlate(plane, kernel, mode="mirror") for plane in image.transpose(2, 0, 1)], -1)

    for given, expected in expected_of("defocus_blur", severity, 40, table, formula):
        assert_close(given, expected, apart=0.12)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_the_disk_has_no_empty_border_and_preserves_the_mean(table, severity):
    radius, alias_sigma = level_of("defocus_blur", severity, table)
    kernel = disk(radius, alias_sigma)
    # A disk close to the edge of its square is smoothed across it, and a little comes back twice.
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5 if radius < 7 else 0.02)
    assert len(kernel) % 2 == 1
    assert float(kernel[0].max()) > 0
    torch.testing.assert_close(kernel, kernel.T)


@pytest.mark.parametrize(("table", "size"), [(32, 32), (64, 64), (224, 56), (224, 224), (299, 75)])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_zoom_blur(table, size, severity):
    def formula(image, level, numbers):
        factors = np.arange(1, *level)
        if table in (224, 299):
            assert len(factors) == (12, 16, 11, 13, 11)[severity - 1]
        total = image.astype(np.float32)
        for factor in factors:
            cut = math.ceil(size / factor)
            top = (size - cut) // 2
            whole = ndimage.zoom(image[top : top + cut, top : top + cut], (factor, factor, 1), order=1)
            trim = (len(whole) - size) // 2
            total = total + whole[trim : trim + size, trim : trim + size]
        return total / (len(factors) + 1)

    for given, expected in expected_of("zoom_blur", severity, size, table, formula):
        assert_close(given, expected, apart=0.12)


@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "zoom_blur", "glass_blur", "motion_blur"])
@pytest.mark.parametrize(("size", "severity"), [(32, 4), (64, 5), (224, 3)])
def test_a_flat_image_does_not_change(name, size, severity):
    for level in (0, 1, 77, 119, 254, 255):
        flat = torch.full((1, 3, size, size), level, dtype=torch.uint8)
        assert torch.equal(corrupt(flat, name, severity, index=INDEX[:1], seed=SEED), flat)


def test_a_zoom_by_one_is_the_image():
    values = torch.rand(1, 3, 10, 10)
    assert clipped_zoom(values, 1.0) is values
    assert clipped_zoom(values, 2.7).shape == values.shape


@pytest.mark.parametrize(("table", "size"), [(32, 32), (64, 32), (224, 32), (299, 40)])
@pytest.mark.parametrize("severity", SEVERITIES)
def test_glass_blur_is_the_published_loop(table, size, severity):
    def formula(image, level, numbers):
        sigma, reach, passes = level
        cells = np.floor(numbers * 4 * reach * reach).astype(int)
        shifts = iter(cells.tolist())
        smooth = as_bytes(ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest") + 1e-9)
        for _ in range(passes):
            for row in range(size - reach, reach, -1):
                for column in range(size - reach, reach, -1):
                    shift = next(shifts)
                    down, right = shift // (2 * reach) - reach, shift % (2 * reach) - reach
                    # The generator exchanges two views of one array: both end with the value of the second.
                    here, there = smooth[row, column], smooth[row + down, column + right]
                    smooth[row, column], smooth[row + down, column + right] = there, here
        return ndimage.gaussian_filter(smooth / 255, (sigma, sigma, 0), mode="nearest") + 1e-9

    # Two blurs: at 0.4 px the farthest pixels weigh a few millionths, so near flat areas up to a percent of the values
    # are less than 2^-12 below a whole level.
    for given, expected in expected_of("glass_blur", severity, size, table, formula):
        assert_close(given, expected, apart=0.03)


def test_glass_blur_moves_values_and_creates_none():
    class Fixed:
        def uniform(self, *shape, first=0):
            return torch.rand(1, *shape, generator=torch.Generator().manual_seed(first))

    one_of_each = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    shuffled = glass_blur(one_of_each, Fixed(), 0.05, 2, 2)
    moved = shuffled.int() - one_of_each.int()
    assert set(shuffled.flatten().tolist()) < set(range(256))  # copies, so some are lost
    assert int((moved != 0).sum()) > 100
    assert torch.equal(shuffled[..., :3, :], one_of_each[..., :3, :])  # three rows are out of reach


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_blur_matches_imagemagicks_definition(table, severity):
    def formula(image, level, numbers):
        return imagemagick_blur(image, numbers[0] * 90 - 45, *level) + 0.5 / 255

    for given, expected in expected_of("motion_blur", severity, 40, table, formula):
        assert_close(given, expected, apart=0.01)


def test_motion_to_the_right_reads_pixels_on_the_right():
    point = torch.zeros(1, 1, 32, 32)
    point[..., 16, 16] = 1.0
    across = blur_along(point, torch.tensor([0.5]), (-45.0, 45.0), radius=4, sigma=2)[0, 0]
    assert float(across.sum()) == pytest.approx(1, abs=1e-6)
    assert across[16].nonzero().flatten().tolist() == list(range(8, 17))  # the 2 * 4 pixels before it read the point
    assert float(across[16].max()) == float(across[16, 16])
    down = blur_along(point, torch.tensor([0.5]), (-135.0, -45.0), radius=4, sigma=2)[0, 0]
    assert down[:, 16].nonzero().flatten().tolist() == list(range(16, 25))


def test_both_implementations_of_motion_blur_agree():
    padded = torch.rand(3, 3, 26, 26, generator=torch.Generator().manual_seed(0))
    offsets, weights = _offsets(torch.tensor([-45.0, 13.0, 45.0]).double(), radius=4, sigma=3)
    shifted = _blur_by_shifts(padded, offsets + 8, weights, 10)
    torch.testing.assert_close(shifted, _blur_by_kernels(padded, offsets + 8, weights, 10))
