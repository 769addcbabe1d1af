"""A user's own noise: what it is given, what it must give back, and that a stage remembers which one it was."""

import pytest
import torch
from torchvision.transforms import v2

import noisystudent
from noisystudent.errors import SettingsError
from noisystudent.noise.custom import CustomAugmentation, describe

QUICK = {"train.steps": 3, "train.batch_size": 8, "noise.strength": 0.5, "model.teacher": "tiny_resnet"}


def darken(pixels):
    return pixels // 2


def speckle(pixels):
    return torch.where(torch.rand(pixels.shape) < 0.5, pixels, 0)


def test_it_acts_on_the_batch_and_is_seeded_by_step():
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
def test_other_things_than_such_images_are_refused(function, named):
    with pytest.raises(SettingsError, match=named):
        CustomAugmentation(function, seed=0)(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), 0)


def test_a_callable_is_known_by_its_name_and_content():
    assert describe(darken) == describe(darken) != describe(speckle)
    assert describe(darken).startswith(f"{__name__}.darken#")
    assert describe(v2.RandomRotation(10)) == describe(v2.RandomRotation(10)) != describe(v2.RandomRotation(20))


def test_a_torchvision_transform_trains_and_another_one_trains_anew(tmp_path, capsys):
    words = {"labeled": "digits:labeled", "out": tmp_path / "model", "settings": QUICK}
    first = noisystudent.train(**words, noise=v2.RandomInvert(0.5), quiet=True)
    again = noisystudent.train(**words, noise=v2.RandomInvert(0.5), quiet=True)
    other = noisystudent.train(**words, noise=v2.RandomInvert(0.9), quiet=True)
    without = noisystudent.train(**words, quiet=True)
    assert first.fingerprint == again.fingerprint
    assert len({first.fingerprint, other.fingerprint, without.fingerprint}) == 3
