"""Random numbers, crops and the plain view."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.crop import PlainView, pad_crop, random_window, resized_crop
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings


def test_draws_are_uniform_and_uncorrelated():
    index = torch.arange(20_000)
    drawn = CounterRng(7, "test").uniform(torch.zeros_like(index), index, 3).numpy()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    for column in drawn.T:
        assert kstest(column, "uniform").pvalue > 0.001
    neighbors = np.corrcoef(np.concatenate([drawn[:-1], drawn[1:]], axis=1).T)
    assert np.abs(neighbors - np.eye(6)).max() < 0.03


def test_draws_depend_on_seed_stream_epoch_and_index_only():
    zero, one = torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.int64)
    base = CounterRng(1, "a").uniform(zero, zero, 4)
    assert torch.equal(base, CounterRng(1, "a").uniform(zero, zero, 4))
    others = [
        CounterRng(2, "a").uniform(zero, zero, 4),
        CounterRng(1, "b").uniform(zero, zero, 4),
        CounterRng(1, "a").uniform(one, zero, 4),
        CounterRng(1, "a").uniform(zero, one, 4),
    ]
    assert all(not torch.equal(base, other) for other in others)


def test_a_pad_crop_is_reflect_padding_and_a_shift():
    pixels = torch.randint(0, 256, (1, 2, 12, 12), dtype=torch.uint8)
    sizes = torch.tensor([[12, 12]])
    padded = np.pad(pixels[0].numpy(), ((0, 0), (3, 3), (3, 3)), mode="reflect")
    for down in range(7):
        uniforms = torch.tensor([[(down + 0.5) / 7, 0.5 / 7]])
        cut = pad_crop(pixels, sizes, uniforms, size=12, reach=3)[0].numpy()
        np.testing.assert_array_equal(cut, padded[:, down : down + 12, 0:12])


def test_a_resized_crop_of_everything_is_the_image():
    pixels = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    sizes = torch.full((3, 2), 16)
    whole = resized_crop(pixels, sizes, torch.full((3, 4), 0.5), size=16, area=1.0)
    assert (whole.int() - pixels.int()).abs().max() <= 1


def test_a_resized_crop_stays_inside_the_valid_part():
    pixels = torch.zeros(64, 1, 20, 30, dtype=torch.uint8)
    pixels[:, :, :16, :24] = 200  # pixels outside are zero and must not reach the crop
    sizes = torch.tensor([[16, 24]]).expand(64, 2)
    uniforms = torch.rand(64, 4, generator=torch.Generator().manual_seed(0))
    assert resized_crop(pixels, sizes, uniforms, size=16, area=0.1).min() == 200


@pytest.mark.parametrize(("height", "width"), [(128, 128), (128, 160), (192, 128)])
def test_the_plain_view_is_the_center_of_the_stored_image(height, width):
    pixels = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    sizes = torch.tensor([[height, width]]).expand(2, 2)
    top, left = (height - 96) // 2, (width - 96) // 2
    assert torch.equal(PlainView(96)(pixels, sizes), pixels[:, :, top : top + 96, left : left + 96])


def test_the_plain_view_of_a_model_smaller_than_the_stored_images_reduces_them():
    # A ramp across the image: the view must show the central size / (size + 32) of it, not a corner.
    position = torch.arange(292) / 292
    pixels = (position * 255).round().to(torch.uint8).expand(1, 1, 292, 292)
    view = PlainView(224)(pixels, torch.tensor([[292, 292]]))
    edge = 0.5 - 0.5 * 224 / 256
    assert view.shape == (1, 1, 224, 224)
    assert view[0, 0, 0, 0].item() == pytest.approx(255 * edge, abs=2)
    assert view[0, 0, 0, -1].item() == pytest.approx(255 * (1 - edge), abs=2)


def test_a_small_model_sees_the_whole_of_images_stored_for_a_larger_one():
    pixels = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    pixels[:, :, 32:] = 255
    view = PlainView(32)(pixels, torch.tensor([[64, 64]]))
    assert (view[0, 0, :14] <= 8).all()
    assert (view[0, 0, 18:] >= 247).all()


def test_a_random_window_is_at_each_position_with_the_same_probability():
    pixels = torch.arange(10 * 12).reshape(1, 1, 10, 12).to(torch.uint8).expand(8_000, 1, 10, 12)
    sizes = torch.tensor([[10, 12]]).expand(8_000, 2)
    uniforms = torch.rand(8_000, 2, generator=torch.Generator().manual_seed(0))
    windows = random_window(pixels, sizes, uniforms, 8)
    corners = windows[:, 0, 0, 0].int()
    top, left = corners // 12, corners % 12
    counts = torch.bincount(top * 5 + left, minlength=15)
    assert counts.numel() == 15  # 3 x 5 positions
    assert chisquare(counts.numpy()).pvalue > 0.001
    row = int(torch.nonzero((top == 2) & (left == 4))[0])
    torch.testing.assert_close(windows[row], pixels[row, :, 2:10, 4:12])


def test_a_window_at_strength_1_is_as_many_pixels_as_the_model_sees_and_at_0_the_whole_image():
    pixels = torch.randint(0, 256, (4, 1, 40, 40), dtype=torch.uint8)
    arguments = (pixels, torch.full((4, 2), 40), torch.zeros(4, dtype=torch.int64), torch.arange(4))
    settings = NoiseSettings(crop="window", randaugment=False)
    views = {
        strength: InputNoise(
            settings, size=32, strength=strength, rng=CounterRng(0, "test"), storage_size=40, crop=1.0
        )(*arguments)
        for strength in (0.0, 1.0)
    }
    assert torch.equal(views[0.0], PlainView(32, 1.0)(*arguments[:2]))
    windows = pixels[0].unfold(1, 32, 1).unfold(2, 32, 1)[0].reshape(-1, 32, 32)
    assert any(torch.equal(views[1.0][0, 0], window) for window in windows)
