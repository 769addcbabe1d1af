"""How many images enter a forward pass, and how convolutions are chosen."""

import pytest
import torch

from noisystudent.runtime.device import fastest_convolutions, images_per_pass
from noisystudent.runtime.settings import RuntimeSettings


@pytest.mark.parametrize(
    ("device", "size", "images"),
    [
        ("cpu", 8, 512),
        ("cpu", 32, 512),
        ("cpu", 64, 128),
        ("cpu", 128, 32),
        ("cpu", 224, 10),
        ("cpu", 512, 8),
        ("cuda", 224, 512),
    ],
)
def test_auto_follows_the_device_and_the_size(device, size, images):
    assert images_per_pass(RuntimeSettings(), torch.device(device), size) == images


def test_what_the_user_says_is_kept():
    assert images_per_pass(RuntimeSettings(label_batch_size=7), torch.device("cpu"), 224) == 7


@pytest.mark.parametrize(("deterministic", "expected"), [(False, True), (True, False)])
def test_convolutions_are_timed_in_the_block_alone_unless_they_must_repeat_bits(deterministic, expected, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", deterministic)
    before = torch.backends.cudnn.benchmark
    with fastest_convolutions():
        assert torch.backends.cudnn.benchmark == expected
    assert torch.backends.cudnn.benchmark == before
