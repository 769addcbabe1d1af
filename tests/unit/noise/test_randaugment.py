"""RandAugment's operations against Pillow, and its independence of the batch."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.policies import PUBLISHED_DISTANCES, Distances, apply_graded, apply_operation
from noisystudent.noise.settings import OPERATIONS, NoiseSettings

SHAPES = [(1, 8, 8), (3, 8, 8), (3, 32, 32), (1, 47, 33), (3, 33, 47)]


def images(shape, count=6, seed=0) -> torch.Tensor:
    """Random images: rough ones, a smooth one, and one of a single level."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, *shape)).astype(np.uint8)
    pixels[1] = (np.linspace(20, 200, shape[2])[None, None, :] + np.zeros(shape)).astype(np.uint8)
    pixels[2] = 77
    return torch.from_numpy(pixels)


def distances_for(pixels: torch.Tensor) -> Distances:
    """The published distances of images of 224 pixels, scaled."""
    return PUBLISHED_DISTANCES.scaled(min(pixels.shape[-2:]) / 224)


def to_pillow(pixels: torch.Tensor) -> Image.Image:
    array = pixels.numpy()
    return Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))


def from_pillow(image: Image.Image) -> np.ndarray:
    array = np.asarray(image)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def fill(image: Image.Image):
    return 128 if image.mode == "L" else (128, 128, 128)


def affine(image: Image.Image, matrix) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=fill(image))


def reference(name: str, image: Image.Image, level: float, sign: int) -> Image.Image:
    """The operation in Pillow at M / 10 = ``level``, by the published scales."""
    scale = min(image.size) / 224
    distance = int(np.floor(level * 100 * scale + 0.5))
    factor = level * 1.8 + 0.1
    match name:
        case "AutoContrast":
            return ImageOps.autocontrast(image)
        case "Equalize":
            return ImageOps.equalize(image)
        case "Invert":
            return ImageOps.invert(image)
        case "Posterize":
            return ImageOps.posterize(image, min(max(int(level * 4), 1), 8))
        case "Solarize":
            return ImageOps.solarize(image, int(level * 256))
        case "SolarizeAdd":
            addition = int(level * 110)
            return image.point([min(v + addition, 255) if v < 128 else v for v in range(256)] * len(image.getbands()))
        case "Color":
            return ImageEnhance.Color(image).enhance(factor)
        case "Contrast":
            return ImageEnhance.Contrast(image).enhance(factor)
        case "Brightness":
            return ImageEnhance.Brightness(image).enhance(factor)
        case "Sharpness":
            return ImageEnhance.Sharpness(image).enhance(factor)
        case "Rotate":
            return image.rotate(sign * level * 30, Image.Resampling.NEAREST, fillcolor=fill(image))
        case "ShearX":
            return affine(image, (1, sign * level * 0.3, 0, 0, 1, 0))
        case "ShearY":
            return affine(image, (1, 0, 0, sign * level * 0.3, 1, 0))
        case "TranslateX":
            return affine(image, (1, 0, sign * distance, 0, 1, 0))
        case "TranslateY":
            return affine(image, (1, 0, 0, 0, 1, sign * distance))
    raise AssertionError(name)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "Cutout"])
def test_every_operation_matches_pillow(name, shape):
    pixels = images(shape)
    for magnitude, (draw, sign) in itertools.product([2.0, 5.0, 9.0, 17.0, 27.0], [(0.75, 1), (0.25, -1)]):
        draws = torch.full((len(pixels), 3), draw)
        ours = apply_operation(name, pixels, magnitude, draws, distances_for(pixels)).numpy()
        pillows = [from_pillow(reference(name, to_pillow(image), magnitude / 10, sign)) for image in pixels]
        np.testing.assert_array_equal(ours, np.stack(pillows), err_msg=f"magnitude {magnitude}, sign {sign}")


@pytest.mark.parametrize("name", ["AutoContrast", "Equalize"])
@pytest.mark.parametrize("channels", [1, 3])
def test_levels_of_large_planes_match_pillow_too(name, channels):
    pixels = images((channels, 90, 70), count=6)  # counted plane by plane
    changed = apply_operation(name, pixels, 9.0, torch.zeros(len(pixels), 3), distances_for(pixels)).numpy()
    pillows = [from_pillow(reference(name, to_pillow(image), 0.9, 1)) for image in pixels]
    np.testing.assert_array_equal(changed, np.stack(pillows))


@pytest.mark.parametrize("name", ["Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"])
def test_geometric_operations_have_two_directions(name):
    pixels = images((1, 32, 32))[:1]
    directions = [
        apply_operation(name, pixels, 10.0, torch.tensor([[d, 0.5, 0.5]]), distances_for(pixels)) for d in (0.1, 0.9)
    ]
    assert not torch.equal(*directions)


def test_cutout_is_a_gray_square_around_its_center():
    pixels = torch.zeros(1, 3, 56, 56, dtype=torch.uint8)
    cut = apply_operation("Cutout", pixels, 10.0, torch.tensor([[0.0, 0.5, 0.5]]), distances_for(pixels))
    rows, columns = (cut[0, 0] == 128).nonzero().unbind(1)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (18, 38, 18, 38)
    assert len(rows) == 20 * 20
    assert torch.equal(cut[0, 0], cut[0, 2])


@pytest.mark.parametrize("name", OPERATIONS)
def test_graded_operations_do_nothing_at_zero(name):
    pixels = images((3, 16, 16))
    draws = torch.rand(len(pixels), 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(apply_graded(name, pixels, 0.0, draws, distances_for(pixels)), pixels)


@pytest.mark.parametrize("name", ["Contrast", "Brightness", "Color", "Posterize", "Solarize", "SolarizeAdd", "Rotate"])
def test_graded_operations_grow_with_the_magnitude(name):
    pixels = images((3, 32, 32), count=40)
    draws = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
    changes = [
        (apply_graded(name, pixels, m, draws, distances_for(pixels)).float() - pixels).abs().mean() for m in (1, 5, 10)
    ]
    assert 0 <= changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize("policy", ["graded", "paper"])
def test_the_noise_of_an_image_depends_only_on_epoch_and_index(policy):
    noise = InputNoise(NoiseSettings(policy=policy, flip=True), size=16, strength=0.7, rng=CounterRng(3, "test"))
    pixels, sizes = images((3, 16, 16), count=32), torch.full((32, 2), 16)
    epoch, index = torch.full((32,), 5), torch.arange(32)
    whole = noise(pixels, sizes, epoch, index)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(noise(pixels[order], sizes[order], epoch[order], index[order]), whole[order])
    halves = [noise(pixels[p], sizes[p], epoch[p], index[p]) for p in (slice(0, 7), slice(7, 32))]
    assert torch.equal(torch.cat(halves), whole)
    assert not torch.equal(noise(pixels, sizes, epoch + 1, index), whole)


def test_every_noise_can_be_switched_off_alone():
    pixels, sizes, index = images((3, 16, 16)), torch.full((6, 2), 16), torch.arange(6)
    off = {"randaugment": False, "crop": "none", "flip": False}
    plain = InputNoise(NoiseSettings(**off), size=16, strength=1.0, rng=CounterRng(0, "test"))
    assert torch.equal(plain(pixels, sizes, index * 0, index), pixels)
    for switch in ({"randaugment": True}, {"crop": "pad"}, {"crop": "resized"}, {"flip": True}):
        noise = InputNoise(NoiseSettings(**{**off, **switch}), size=16, strength=1.0, rng=CounterRng(0, "test"))
        assert not torch.equal(noise(pixels, sizes, index * 0, index), pixels)
