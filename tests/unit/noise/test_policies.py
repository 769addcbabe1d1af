"""Policies and presets: timm's and torchvision's operations against those libraries, and the published recipes."""

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from timm.data import auto_augment as timm_augment
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import RandAugment as TorchvisionRandAugment
from torchvision.transforms.autoaugment import _apply_op

from noisystudent.config import resolve
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.crop import pad_crop
from noisystudent.noise.input import InputNoise
from noisystudent.noise.policies import POLICIES, PUBLISHED_DISTANCES
from noisystudent.noise.randaugment import RandAugment
from noisystudent.noise.settings import OPERATIONS, PRESETS, NoiseSettings

GRAY = (128, 128, 128)


def images(count=4, size=40) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, size, size)).astype(np.uint8))


def to_pillow(pixels: torch.Tensor) -> Image.Image:
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


def changed(policy: str, name: str, pixels: torch.Tensor, magnitude: float, *, positive: bool) -> np.ndarray:
    """The images changed by our policy, all in one direction, [N, H, W, C]."""
    draws = torch.full((len(pixels), 3), 0.75 if positive else 0.25)
    return POLICIES[policy].apply(name, pixels, magnitude, draws, PUBLISHED_DISTANCES).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("magnitude", [4.0, 9.0])
@pytest.mark.parametrize("name", POLICIES["timm"].operations)
def test_the_timm_policy_matches_timm(name, magnitude, monkeypatch):
    theirs = name + "Rel" if name.startswith("Translate") else name
    assert theirs in timm_augment._RAND_TRANSFORMS
    for positive in (True, False):
        monkeypatch.setattr(timm_augment, "_randomly_negate", lambda v, sign=1 if positive else -1: sign * v)
        level = timm_augment.LEVEL_TO_ARG[theirs]
        arguments = level(magnitude, {}) if level else ()
        options = {"fillcolor": GRAY, "resample": Image.Resampling.NEAREST}
        pixels = images()
        expected = [
            np.asarray(timm_augment.NAME_TO_OP[theirs](to_pillow(image), *arguments, **options)) for image in pixels
        ]
        np.testing.assert_array_equal(changed("timm", name, pixels, magnitude, positive=positive), np.stack(expected))


def test_the_timm_policy_draws_timms_operations_with_its_probability():
    assert {name.removesuffix("Rel") for name in timm_augment._RAND_TRANSFORMS} == set(POLICIES["timm"].operations)
    augment = RandAugment(layers=1, magnitude=9.0, policy="timm", operations=("Invert",))
    pixels = images(2000, 4)
    index = torch.arange(len(pixels))
    inverted = augment(pixels, CounterRng(0, "test").uniform(torch.zeros_like(index), index, augment.draws))
    share = (inverted == 255 - pixels).all(dim=(1, 2, 3)).float().mean().item()
    assert share == pytest.approx(0.5, abs=4 * 0.5 / 2000**0.5)
    assert ((inverted == 255 - pixels) | (inverted == pixels)).all()


@pytest.mark.parametrize("magnitude", [9, 20, 30])
@pytest.mark.parametrize("name", POLICIES["torchvision"].operations)
def test_the_torchvision_policy_matches_torchvision(name, magnitude):
    space = TorchvisionRandAugment()._augmentation_space(31, (40, 40))
    assert set(space) == set(POLICIES["torchvision"].operations)
    magnitudes, signed = space[name]
    value = float(magnitudes[magnitude].item()) if magnitudes.ndim else 0.0
    pixels = images()
    for positive in (True, False) if signed else (True,):
        # torchvision translates the image, the paper translates the grid, which is the opposite direction.
        ours_positive = positive != name.startswith("Translate")
        ours = changed("torchvision", name, pixels, float(magnitude), positive=ours_positive)
        theirs = np.stack(
            [
                np.asarray(
                    _apply_op(
                        to_pillow(image), name, value if positive else -value, InterpolationMode.NEAREST, list(GRAY)
                    )
                )
                for image in pixels
            ]
        )
        if name.startswith("Shear"):
            # torchvision converts shears to degrees and back, so a point on the border of two pixels may use either.
            assert (ours != theirs).any(axis=3).mean() <= 0.03
        else:
            # torchvision's factors are float32 steps, which can move a blend on the border of two levels by one.
            allowed = 1 if name in ("Color", "Contrast", "Brightness", "Sharpness") else 0
            assert np.abs(ours.astype(int) - theirs).max() <= allowed


def test_a_list_of_operations_replaces_those_of_the_policy():
    noise = InputNoise(
        NoiseSettings(operations=("Posterize", "Posterize"), policy="paper", magnitude=5.0, crop="none", layers=1),
        size=40, strength=1.0, rng=CounterRng(0, "test"),
    )  # fmt: skip
    pixels = images()
    zeros = torch.zeros(4, dtype=torch.int64)
    assert torch.equal(noise(pixels, torch.full((4, 2), 40), zeros, torch.arange(4)), pixels & 0b11000000)
    with pytest.raises(ValidationError, match="Did you mean 'Posterize'"):
        NoiseSettings(operations=("Posterise",))


def test_the_operations_that_may_be_listed_are_those_of_the_policy():
    assert NoiseSettings(policy="torchvision", operations=("Identity", "Rotate")).operations == ("Identity", "Rotate")
    with pytest.raises(ValidationError, match="'Cutout' is not an operation of policy timm"):
        NoiseSettings(policy="timm", operations=("Cutout",))
    with pytest.raises(ValidationError, match="'Identity' is not an operation of policy graded"):
        NoiseSettings(operations=("Identity",))


@pytest.mark.parametrize(
    ("member", "magnitude", "dropout"),
    [
        ("b2", 6, 0.3),
        ("b3", 12, 0.3),
        ("b4", 15, 0.4),
        ("b5", 18, 0.4),
        ("b6", 24, 0.5),
        ("b7", 27, 0.5),
        ("l2", 27, 0.5),
    ],
)  # fmt: skip
def test_paper_presets_match_the_published_table(member, magnitude, dropout):
    settings = NoiseSettings(preset=f"paper-{member}")
    assert (settings.magnitude, settings.dropout, settings.stochastic_depth) == (magnitude, dropout, 0.2)
    assert (settings.layers, settings.policy, settings.strength, settings.flip) == (2, "paper", 1.0, True)


@pytest.mark.parametrize("member", ["b0", "b1"])
def test_the_smallest_published_students_had_no_randaugment(member):
    assert not NoiseSettings(preset=f"paper-{member}").randaugment


def test_given_settings_override_a_preset_and_all_presets_are_valid():
    assert NoiseSettings(preset="paper-b7", magnitude=10.0).magnitude == 10.0
    for name in PRESETS:
        assert NoiseSettings(preset=name).preset == name
    resolved = resolve({"labeled": "digits", "out": "x", "noise.preset": "svhn", "noise.hole": "0"})
    assert (resolved.settings.noise.magnitude, resolved.settings.noise.hole) == (5.0, 0)


def test_the_svhn_preset_fills_a_square_of_sixteen_pixels():
    settings = NoiseSettings(preset="svhn", randaugment=False, crop="none")
    noise = InputNoise(settings, size=32, strength=1.0, rng=CounterRng(0, "test"))
    pixels = torch.full((200, 1, 32, 32), 7, dtype=torch.uint8)
    zeros = torch.zeros(200, dtype=torch.int64)
    gray = (noise(pixels, torch.full((200, 2), 32), zeros, torch.arange(200)) == 128).sum(dim=(1, 2, 3))
    assert gray.max() == 16 * 16
    assert gray.min() >= 8 * 8  # a hole with its center in a corner


def test_the_preset_none_does_not_change_images():
    noise = InputNoise(NoiseSettings(preset="none"), size=40, strength=0.0, rng=CounterRng(0, "test"))
    pixels = images()
    zeros = torch.zeros(4, dtype=torch.int64)
    assert torch.equal(noise(pixels, torch.full((4, 2), 40), zeros, torch.arange(4)), pixels)


def test_operations_are_those_of_the_official_code():
    assert len(OPERATIONS) == len(set(OPERATIONS)) == 16


def released_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Contrast of the release's randaugment.py, line by line in NumPy: one image, uint8 [H, W, 3]."""
    gray = (image @ np.array([0.2989, 0.5870, 0.1140])).astype(np.int64)
    histogram = np.bincount(gray.ravel(), minlength=256)
    mean = np.clip(histogram.astype(np.float32).sum() / np.float32(256), 0, 255).astype(np.uint8)
    blended = np.float32(mean) + np.float32(factor) * (image.astype(np.float32) - np.float32(mean))
    return np.clip(blended, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("size", "gray"), [(32, 4), (224, 196), (240, 225), (475, 255)])
@pytest.mark.parametrize("magnitude", [0.0, 4.0, 6.0, 27.0])
def test_contrast_of_the_policy_released_is_that_of_the_released_code(size, gray, magnitude):
    pixels = images(1, size)
    ours = changed("released", "Contrast", pixels, magnitude, positive=True)[0]
    theirs = released_contrast(pixels[0].permute(1, 2, 0).numpy(), magnitude / 10 * 1.8 + 0.1)
    assert np.array_equal(ours, theirs)
    constant = torch.full((1, 3, size, size), gray, dtype=torch.uint8)
    assert torch.equal(POLICIES["released"].apply("Contrast", constant, 27.0, torch.zeros(1, 3), PUBLISHED_DISTANCES),
                       constant)  # fmt: skip


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "Contrast"])
def test_all_else_of_the_policy_released_is_that_of_paper(name):
    pixels = images()
    released, paper = (changed(policy, name, pixels, 12.0, positive=True) for policy in ("released", "paper"))
    assert np.array_equal(released, paper)


def test_the_svhn_recipe_crops_after_randaugment_and_hole():
    settings = NoiseSettings(preset="svhn")
    assert settings.crop_last
    pixels, sizes, index = images(6, 32), torch.full((6, 2), 32), torch.arange(6)
    rng = CounterRng(0, "test")
    cropped_last = InputNoise(settings, size=32, strength=1.0, rng=rng)(pixels, sizes, index, index)
    before = InputNoise(settings.model_copy(update={"crop": "none"}), size=32, strength=1.0, rng=rng)
    draws = rng.uniform(index, index, 2)
    reference = pad_crop(before(pixels, sizes, index, index), sizes, draws, size=32, reach=4)
    assert torch.equal(cropped_last, reference)
    first = settings.model_copy(update={"crop_last": False})
    assert not torch.equal(cropped_last, InputNoise(first, size=32, strength=1.0, rng=rng)(pixels, sizes, index, index))
