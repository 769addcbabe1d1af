"""The corruptions against those of imagecorruptions-imaug, if it is installed (extra ``corruptions``), at 224 px.

The package's code is the authors' code for eleven of the corruptions. Its motion blur and snow avoid ImageMagick, its
frost rescales the textures, and its elastic transform is different. Where it uses NumPy's global generator, the tests
replace the random numbers with those of this package, so single values can be compared. Two corruptions use other
generators.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from scipy.stats import poisson

from corruption_references import SEED, assert_close, images, normals, uniforms
from noisystudent.evaluation.corruptions.filters.frost import _resize, _texture_files, textures_folder
from noisystudent.evaluation.corruptions.filters.spatter import _distance_transform, _equalize, canny
from noisystudent.evaluation.corruptions.generate import available_corruptions, corrupt
from noisystudent.evaluation.corruptions.tables import SEVERITIES, TABLES, TEST_CORRUPTIONS, level_of

reason = "needs the extra 'corruptions' (imagecorruptions-imaug)"
package = pytest.importorskip("imagecorruptions", reason=reason)
cv2 = pytest.importorskip("cv2", reason=reason)

SIZE, INDEX = 224, torch.tensor([40, 3])
CLEAN = images(2, SIZE)


def theirs(name: str, severity: int, image: torch.Tensor) -> np.ndarray:
    return package.corrupt(image.permute(1, 2, 0).numpy(), severity=severity, corruption_name=name)


def ours(name: str, severity: int) -> torch.Tensor:
    return corrupt(CLEAN, name, severity, index=INDEX, seed=SEED)


def pairs(name: str, severity: int):
    """Our corrupted image, the clean one and its index, image by image."""
    return zip(ours(name, severity), CLEAN, INDEX.tolist(), strict=True)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize(
    ("name", "apart"),
    [
        ("brightness", 0.1),
        ("contrast", 0.25),
        ("saturate", 0.6),
        ("pixelate", 0),
        ("jpeg_compression", 0),
        ("defocus_blur", 0.2),
        ("gaussian_blur", 0.2),
        ("zoom_blur", 0.2),
    ],
)
def test_corruptions_without_random_numbers_match_the_package(name, severity, apart):
    # float64 differs from whole levels in its last bit, so truncation may give a darker level: in flat areas of blurred
    # images, everywhere if saturation is doubled, and in at most one of five levels if contrast is a fifth.
    for given, image, _ in pairs(name, severity):
        assert_close(given, theirs(name, severity, image), apart=apart)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise", "shot_noise"])
def test_noise_matches_the_package_with_the_same_numbers(name, severity, monkeypatch):
    for given, image, index in pairs(name, severity):
        field = uniforms(name, severity, index, image.numel()).reshape(3, SIZE, SIZE).transpose(1, 2, 0)
        monkeypatch.setattr(np.random, "normal", lambda size, scale, field=field: scale * normals(field))
        monkeypatch.setattr(np.random, "poisson", lambda rate, field=field: poisson.ppf(field, rate).clip(0))
        assert_close(given, theirs(name, severity, image), apart=0.003)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_matches_the_package_with_the_same_numbers(severity, monkeypatch):
    for given, image, index in pairs("fog", severity):
        rest = [uniforms("fog", severity, index, 256 * 256 - 1)]

        def drawn(low, high, shape, rest=rest):
            numbers, rest[0] = np.split(rest[0], [int(np.prod(shape))])
            return low + (high - low) * numbers.reshape(shape)

        monkeypatch.setattr(np.random, "uniform", drawn)
        assert_close(given, theirs("fog", severity, image), apart=0.02)
        assert not len(rest[0])


@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_blur_matches_the_package_except_for_rounding(severity, monkeypatch):
    for given, image, index in pairs("motion_blur", severity):
        (number,) = uniforms("motion_blur", severity, index, 1)
        monkeypatch.setattr(np.random, "uniform", lambda low, high, number=number: low + (high - low) * number)
        assert_close(given, theirs("motion_blur", severity, image), apart=0.6)  # half are rounded up


@pytest.mark.parametrize("severity", SEVERITIES)
def test_snow_matches_the_package_except_for_intermediate_bytes(severity, monkeypatch):
    # The authors convert flakes to bytes before the motion blur, the package does not: the two layers differ by up to
    # three levels. The package also blurs before it crops the enlargement, which changes the left and right edges.
    zoom = level_of("snow", severity, 224)[2]
    cut = int(np.ceil(SIZE / zoom))
    top = (SIZE - cut) // 2
    for given, image, index in pairs("snow", severity):
        numbers = uniforms("snow", severity, index, 1 + cut * cut)
        field = np.zeros((SIZE, SIZE))
        field[top : top + cut, top : top + cut] = normals(numbers[1:]).reshape(cut, cut)
        monkeypatch.setattr(np.random, "normal", lambda size, loc, scale, field=field: loc + scale * field)
        monkeypatch.setattr(np.random, "uniform", lambda low, high, angle=numbers[0]: low + (high - low) * angle)
        difference = np.abs(given.permute(1, 2, 0).numpy().astype(int) - theirs("snow", severity, image))
        assert difference[:, 25:-25].max() <= 3
        assert difference.mean() < 1


@pytest.mark.parametrize("severity", SEVERITIES)
def test_spatter_matches_the_package_with_the_same_numbers(severity, monkeypatch):
    for given, image, index in pairs("spatter", severity):
        field = normals(uniforms("spatter", severity, index, SIZE * SIZE)).reshape(SIZE, SIZE)
        monkeypatch.setattr(np.random, "normal", lambda size, loc, scale, field=field: loc + scale * field)
        difference = np.abs(given.permute(1, 2, 0).numpy().astype(int) - theirs("spatter", severity, image))
        assert (difference > 1).mean() < 0.001


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", ["impulse_noise", "glass_blur"])
def test_corruptions_with_other_generators_change_images_equally(name, severity):
    change = [(given.int() - image.int()).abs().double().mean() for given, image, _ in pairs(name, severity)]
    others = [theirs(name, severity, image).transpose(2, 0, 1).astype(int) for image in CLEAN]
    expected = [np.abs(after - before.numpy()).mean() for after, before in zip(others, CLEAN, strict=True)]
    assert float(sum(change)) == pytest.approx(sum(expected), rel=0.03)


def test_edges_distances_and_histograms_match_opencv():
    random = np.random.default_rng(0)
    for seed in range(4):
        levels = ndimage.gaussian_filter(random.normal(0.65, 0.3, (SIZE, SIZE)), 1 + seed) * 255
        levels = np.where(levels < 170, 0, levels).clip(0, 255).astype(np.uint8)
        edges = cv2.Canny(levels, 50, 150)
        ours_edges = canny(torch.from_numpy(levels)[None, None])
        np.testing.assert_array_equal(ours_edges[0, 0].numpy(), edges > 0)
        distance = cv2.distanceTransform(255 - edges, cv2.DIST_L2, 5)
        np.testing.assert_allclose(_distance_transform(ours_edges)[0, 0].numpy(), np.minimum(distance, 20), atol=2e-3)
        equalized = _equalize(torch.from_numpy(levels).float()[None, None])[0, 0].numpy()
        np.testing.assert_array_equal(equalized, cv2.equalizeHist(levels))


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_transform_matches_the_published_code_with_opencv(table, severity):
    size = min(table, 224)
    clean = images(2, size)
    given = corrupt(clean, "elastic_transform", severity, index=INDEX, seed=SEED, table=table)
    alpha, sigma, jitter = level_of("elastic_transform", severity, table)
    for image, index, changed in zip(clean, INDEX.tolist(), given, strict=True):
        numbers = uniforms("elastic_transform", severity, index, 6 + 2 * size * size)
        values = (image.permute(1, 2, 0).numpy() / 255).astype(np.float32)
        middle, reach = size // 2, size // 3
        corners = [[middle + reach, middle + reach], [middle + reach, middle - reach], [middle - reach, middle - reach]]
        before = np.array(corners, dtype=np.float32)
        after = before + ((2 * numbers[:6].reshape(3, 2) - 1) * jitter).astype(np.float32)
        values = cv2.warpAffine(
            values, cv2.getAffineTransform(before, after), (size, size), borderMode=cv2.BORDER_REFLECT_101
        )
        noise = 2 * numbers[6:].reshape(2, size, size) - 1
        if sigma > 0:
            noise = np.stack([ndimage.gaussian_filter(field, sigma, mode="reflect", truncate=3) for field in noise])
        rows, columns = np.mgrid[:size, :size]
        positions = [rows + alpha * noise[1], columns + alpha * noise[0]]
        planes = [
            ndimage.map_coordinates(plane, positions, order=1, mode="reflect") for plane in values.transpose(2, 0, 1)
        ]
        expected = (np.clip(np.stack(planes), 0, 1) * 255).astype(np.uint8)
        difference = np.abs(changed.numpy().astype(int) - expected)
        assert difference.mean() < 1  # OpenCV may round positions to a 32nd of a pixel
        assert np.quantile(difference, 0.99) <= 6


def test_the_packages_textures_are_found_and_resized_as_by_opencv():
    assert available_corruptions() == TEST_CORRUPTIONS
    paths = _texture_files(textures_folder(None))
    assert [path.stem for path in paths] == ["frost1", "frost2", "frost3", "frost4", "frost5"]
    for path in paths:
        texture = cv2.imread(str(path))
        with Image.open(path) as image:
            read = np.asarray(image.convert("RGB"))
        assert np.abs(read.astype(int) - texture[..., ::-1]).max() <= (0 if path.suffix == ".png" else 4)
        for scale in (0.2, 0.3):
            expected = cv2.resize(texture, (0, 0), fx=scale, fy=scale)[..., ::-1]
            resized = _resize(texture[..., ::-1].copy(), scale).permute(1, 2, 0).numpy()
            assert resized.shape == expected.shape
            assert np.abs(resized.astype(int) - expected).max() <= 1
    frosted = corrupt(images(4, 32), "frost", 3, index=torch.arange(4), seed=0)
    assert frosted.shape == (4, 3, 32, 32)
