"""How many images enter a forward pass."""

import pytest
import torch

from noisystudent.runtime.device import images_per_pass
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
