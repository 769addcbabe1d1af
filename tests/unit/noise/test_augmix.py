"""AugMix against a reference on Pillow with the same random numbers, and its independence of the batch."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from pydantic import ValidationError

from noisystudent.noise.augmix import AugMix, apply_augmix, dirichlet
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import AUGMIX_OPERATIONS, NoiseSettings


def images(count: int, size: int = 24, channels: int = 3) -> torch.Tensor:
    random = np.random.default_rng(0)
    smooth = [
        np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC))
        for pixels in random.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    ]
    return torch.from_numpy(np.stack(smooth)).permute(0, 3, 1, 2)[:, :channels].contiguous()


def on_pillow(name: str, image: Image.Image, level: float, negative: bool) -> Image.Image:
    """The released code's operations, with the nearest neighbor and gray fill."""
    sign = -1 if negative else 1
    width, height = image.size
    gray = 128 if image.mode == "L" else (128, 128, 128)

    def moved(*data: float) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.NEAREST, fillcolor=gray)

    match name:
        case "AutoContrast":
            return ImageOps.autocontrast(image)
        case "Equalize":
            return ImageOps.equalize(image)
        case "Posterize":
            return ImageOps.posterize(image, max(1, 4 - int(level * 4 / 10)))
        case "Rotate":
            return image.rotate(sign * int(level * 30 / 10), Image.Resampling.NEAREST, fillcolor=gray)
        case "Solarize":
            return ImageOps.solarize(image, 256 - int(level * 256 / 10))
        case "ShearX":
            return moved(1, sign * level * 0.3 / 10, 0, 0, 1, 0)
        case "ShearY":
            return moved(1, 0, 0, sign * level * 0.3 / 10, 1, 0)
        case "TranslateX":
            return moved(1, 0, sign * int(level * width / 3 / 10), 0, 1, 0)
        case _:
            assert name == "TranslateY"
            return moved(1, 0, 0, 0, 1, sign * int(level * height / 3 / 10))


def to_pillow(pixels: torch.Tensor) -> Image.Image:
    return Image.fromarray(pixels.permute(1, 2, 0).squeeze(2).numpy())


def to_array(image: Image.Image) -> np.ndarray:
    array = np.asarray(image)
    return (array[:, :, None] if array.ndim == 2 else array).transpose(2, 0, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("level", [0.3, 2.1, 3.0, 7.5])
@pytest.mark.parametrize("name", AUGMIX_OPERATIONS)
def test_every_operation_matches_pillow(name, level, negative, channels):
    pixels = images(3, channels=channels)
    changed = apply_augmix(name, pixels, level, torch.full((3,), negative))
    for image, ours in zip(pixels, changed, strict=True):
        np.testing.assert_array_equal(ours.numpy(), to_array(on_pillow(name, to_pillow(image), level, negative)))


def mixed_on_pillow(pixels: torch.Tensor, uniforms: torch.Tensor, depth: int, magnitude: float) -> np.ndarray:
    """AugMix of one image in float64, from its uniform numbers in their documented order."""
    numbers = iter(uniforms.double().tolist())
    share = next(numbers)
    exponential = np.array([-np.log(1 - next(numbers)) for _ in range(3)])
    mix = np.zeros(pixels.shape)
    for weight in exponential / exponential.sum():
        image, length = to_pillow(pixels), int(next(numbers) * depth) + 1
        for number in range(depth):
            name = AUGMIX_OPERATIONS[int(next(numbers) * len(AUGMIX_OPERATIONS))]
            level, negative = magnitude * (int(next(numbers) * 10) + 1) / 10, next(numbers) < 0.5
            if number < length:
                image = on_pillow(name, image, level, negative)
        mix += weight * to_array(image)
    return (1 - share) * pixels.numpy() + share * mix


@pytest.mark.parametrize(("depth", "magnitude", "channels"), [(3, 3.0, 3), (1, 10.0, 3), (4, 1.0, 1)])
def test_a_batch_matches_pillow_image_by_image(depth, magnitude, channels):
    pixels = images(24, channels=channels)
    augment = AugMix(depth=depth, magnitude=magnitude)
    index = torch.arange(24)
    uniforms = CounterRng(0, "augmix").uniform(torch.zeros_like(index), index, augment.draws)
    mixed = augment(pixels, uniforms)
    for image, ours, numbers in zip(pixels, mixed, uniforms, strict=True):
        expected = mixed_on_pillow(image, numbers, depth, magnitude)
        assert np.abs(ours.numpy() - expected).max() <= 0.5 + 1e-3


def test_an_image_does_not_depend_on_its_batch():
    pixels, augment = images(40), AugMix(depth=3, magnitude=3.0)
    uniforms = torch.rand(40, augment.draws, generator=torch.Generator().manual_seed(0))
    whole = augment(pixels, uniforms)
    assert torch.equal(augment(pixels[17:18], uniforms[17:18]), whole[17:18])
    assert torch.equal(augment(pixels.flip(0), uniforms.flip(0)), whole.flip(0))


def test_the_weights_have_a_dirichlet_distribution():
    uniforms = torch.rand(200_000, 3, generator=torch.Generator().manual_seed(0))
    weights = dirichlet(uniforms).double()
    assert torch.allclose(weights.sum(1), torch.ones(1, dtype=torch.float64), atol=1e-6)
    assert weights.mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.002)
    assert weights.var(0).tolist() == pytest.approx([1 / 18] * 3, abs=0.001)  # (1/3)(2/3)/4
    assert dirichlet(torch.zeros(1, 3)).tolist() == [pytest.approx([1 / 3] * 3)]


def test_the_setting_switches_augmix_on_and_changes_nothing_else():
    pixels, sizes, index = images(8), torch.full((8, 2), 24), torch.arange(8)
    settings = {"preset": "augmix", "crop": "pad"}
    mixed = InputNoise(NoiseSettings(**settings), size=24, strength=1.0, rng=CounterRng(0, "x"))
    none = InputNoise(NoiseSettings(**settings, randaugment=False), size=24, strength=1.0, rng=CounterRng(0, "x"))
    views = mixed(pixels, sizes, torch.zeros_like(index), index)
    cropped = none(pixels, sizes, torch.zeros_like(index), index)
    augment = AugMix(depth=3, magnitude=3.0)
    uniforms = CounterRng(0, "x").uniform(torch.zeros_like(index), index, augment.draws, first=200)
    assert torch.equal(views, augment(cropped, uniforms))


def test_an_operation_that_is_not_augmixs_is_named():
    with pytest.raises(ValidationError, match="'Cutout' is not an operation of policy augmix"):
        NoiseSettings(policy="augmix", operations=("Rotate", "Cutout"))
    assert NoiseSettings(policy="paper", operations=("Cutout",)).operations == ("Cutout",)
