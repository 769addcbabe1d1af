"""Custom noise: its input, its required output, and its identity among the inputs of a stage."""

import pytest
import torch

from noisystudent.errors import SettingsError
from noisystudent.noise.custom import CustomAugmentation


def darken(pixels):
    return pixels // 2


def speckle(pixels):
    return torch.where(torch.rand(pixels.shape) < 0.5, pixels, 0)


def test_custom_noise_acts_on_the_batch_and_is_seeded_by_step():
    pixels = torch.full((4, 3, 8, 8), 200, dtype=torch.uint8)
    assert torch.equal(CustomAugmentation(darken, seed=0)(pixels, 0), pixels // 2)
    noise = CustomAugmentation(speckle, seed=0)
    state = torch.get_rng_state()
    assert torch.equal(noise(pixels, 5), CustomAugmentation(speckle, seed=0)(pixels, 5))
    assert not torch.equal(noise(pixels, 5), noise(pixels, 6))
    assert not torch.equal(noise(pixels, 5), CustomAugmentation(speckle, seed=1)(pixels, 5))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda pixels: pixels.float(), r"torch.float32 \[4, 3, 8, 8\]"),
        (lambda pixels: pixels[:, :1], r"\[4, 1, 8, 8\]"),
        (lambda pixels: None, "NoneType"),
    ],
)
def test_results_other_than_such_images_are_refused(function, named):
    with pytest.raises(SettingsError, match=named):
        CustomAugmentation(function, seed=0)(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), 0)
