"""Noise on a GPU has the bytes of noise on a CPU."""

from typing import get_args

import pytest
import torch

from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings, PolicyName


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("policy", get_args(PolicyName))
def test_views_of_small_images_have_the_same_bytes_on_cuda(policy):
    size = 32  # larger ones are cropped with interpolation, which rounds
    settings = NoiseSettings.model_validate({"policy": policy, "flip": True, "hole": 8, "erasing": 0.5, "layers": 4})
    noise = InputNoise(settings, size=size, strength=1.0, rng=CounterRng(0, "test"))
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (300, 3, size, size), dtype=torch.uint8, generator=random)
    sizes, epoch, index = torch.full((300, 2), size), torch.arange(300) % 3, torch.arange(300)
    here = noise(pixels, sizes, epoch, index)
    assert torch.equal(noise(pixels.cuda(), sizes.cuda(), epoch, index).cpu(), here)
