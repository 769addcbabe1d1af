"""Mixup, CutMix and random erasing; the same view at another resolution."""

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest

from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.crop import resize_views
from noisystudent.noise.erasing import erase
from noisystudent.noise.input import InputNoise
from noisystudent.noise.mixing import Mixing, build_mixing, partners, step_keys
from noisystudent.noise.settings import NoiseSettings

COUNT, EDGE, CLASSES = 400, 20, 5


def mixed(mixup: float, cutmix: float, count: int = COUNT):
    """Images of a single gray level, mixed with the next one, so that levels and targets show the shares."""
    levels = torch.where(torch.arange(count) % 2 == 0, 0, 200).to(torch.uint8)
    pixels = levels[:, None, None, None].expand(count, 3, EDGE, EDGE).contiguous()
    targets = torch.eye(CLASSES)[torch.arange(count) % CLASSES]
    index = torch.arange(count)
    mixing = Mixing(mixup=mixup, cutmix=cutmix, rng=CounterRng(0, "test"))
    partner = partners([count])
    images, soft = mixing(pixels, targets, partner, torch.zeros_like(index), index)
    share = soft[index, index % CLASSES]
    torch.testing.assert_close(soft, share[:, None] * targets + (1 - share[:, None]) * targets[partner])
    return levels.float(), images, share


def test_mixup_blends_images_and_targets_by_one_share():
    levels, images, share = mixed(0.4, 0.0)
    expected = share * levels + (1 - share) * levels.roll(-1)
    assert (images.float() - expected[:, None, None, None]).abs().max() <= 0.51
    assert kstest(share.numpy(), beta(0.4, 0.4).cdf).pvalue > 0.001


def test_cutmix_pastes_one_box_with_the_share_of_the_targets():
    levels, images, share = mixed(0.0, 1.0)
    foreign = images[:, 0].float() != levels[:, None, None]
    torch.testing.assert_close(1 - share, foreign.flatten(1).float().mean(dim=1))
    for image in foreign[:50]:
        rows, columns = image.any(dim=1), image.any(dim=0)
        assert int(image.sum()) == int(rows.sum()) * int(columns.sum()), "not a rectangle"
    assert torch.equal(images[:, 0], images[:, 2])


def test_with_both_every_image_gets_one_of_the_two():
    _, images, _ = mixed(1.0, 1.0, 1000)
    blended = ((images != 0) & (images != 200)).flatten(1).any(dim=1).float().mean().item()
    assert blended == pytest.approx(0.5, abs=4 * 0.5 / 1000**0.5)


def test_a_share_depends_on_the_image_alone_and_partners_stay_in_their_part():
    mixing = Mixing(mixup=1.0, cutmix=0.0, rng=CounterRng(0, "test"))
    pixels, targets = torch.zeros(6, 1, 4, 4, dtype=torch.uint8), torch.eye(6)
    epoch, index = torch.zeros(6, dtype=torch.int64), torch.arange(6)
    _, whole = mixing(pixels, targets, partners([6]), epoch, index)
    _, part = mixing(pixels[2:4], targets[2:4], partners([2]), epoch[2:4], index[2:4])
    assert torch.equal(whole[2, 2], part[0, 2])
    assert partners([2, 3, 1]).tolist() == [1, 0, 3, 4, 2, 5]


def test_mixing_is_off_by_default():
    assert build_mixing(NoiseSettings(), CounterRng(0, "test")) is None
    assert build_mixing(NoiseSettings(cutmix=1.0), CounterRng(0, "test")) is not None


def test_erasing_fills_a_rectangle_of_the_published_area_in_a_fraction_of_images():
    pixels = torch.zeros(2000, 3, 50, 50, dtype=torch.uint8)
    uniforms = torch.rand(2000, 5, generator=torch.Generator().manual_seed(0))
    gray = erase(pixels, uniforms, 0.25)[:, 1] == 128
    areas = gray.flatten(1).float().mean(dim=1)
    erased = areas > 0
    assert erased.float().mean().item() == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 2000) ** 0.5)
    assert torch.equal(erased, uniforms[:, 0] < 0.25)
    assert areas[erased].min() > 0.01
    assert areas.max() < 0.42
    for image in gray[erased][:50]:
        assert int(image.sum()) == int(image.any(dim=1).sum()) * int(image.any(dim=0).sum())


def test_erasing_acts_in_input_noise_and_does_not_change_other_noise():
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (64, 1, 16, 16)).astype(np.uint8))
    sizes, index = torch.full((64, 2), 16), torch.arange(64)
    views = [
        InputNoise(NoiseSettings(erasing=p), size=16, strength=0.5, rng=CounterRng(0, "test"))(
            pixels, sizes, torch.zeros_like(index), index
        )
        for p in (0.0, 1.0)
    ]
    changed = views[0] != views[1]
    assert changed.flatten(1).any(dim=1).float().mean() > 0.9
    assert (views[1][changed] == 128).all()


@pytest.mark.parametrize("crop", ["resized", "pad"])
def test_the_same_draws_at_another_resolution_are_the_same_view(crop):
    # So a teacher with another input size can see the same view as its student.
    ramp = torch.linspace(0, 255, 64)
    pixels = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64)])[None].expand(16, 2, 64, 64)
    pixels = torch.cat([pixels, pixels[:, :1]], dim=1).round().to(torch.uint8)
    settings = NoiseSettings(crop=crop, flip=True, randaugment=False)
    sizes, index = torch.full((16, 2), 64), torch.arange(16)
    student, teacher = (
        InputNoise(settings, size=size, strength=1.0, rng=CounterRng(0, "test"), storage_size=64)(
            pixels, sizes, torch.zeros_like(index), index
        )
        for size in (64, 32)
    )
    assert (resize_views(student, 32).float() - teacher.float()).abs().mean() < 2.5


def test_bicubic_crops_are_sharper_than_bilinear_ones():
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, 1, 32, 32)).astype(np.uint8))
    sizes, index = torch.full((8, 2), 32), torch.arange(8)
    linear, cubic = (
        InputNoise(
            NoiseSettings(crop="resized", randaugment=False, interpolation=mode), size=32, strength=1.0,
            rng=CounterRng(0, "test"),
        )(pixels, sizes, torch.zeros_like(index), index).float()
        for mode in ("bilinear", "bicubic")
    )  # fmt: skip
    assert cubic.std() > linear.std() * 1.02
    assert (cubic - linear).abs().mean() < 20


def test_one_share_per_step_is_that_of_all_its_images_and_changes_from_step_to_step():
    mixing = build_mixing(NoiseSettings(mixup=0.1, mixing="step"), CounterRng(0, "test"))
    assert mixing.per_step
    pixels = torch.arange(8, dtype=torch.uint8)[:, None, None, None].expand(8, 1, 4, 4) * 20
    targets, partner = torch.eye(8), partners([8])
    shares = []
    for step in range(200):
        _, soft = mixing(pixels, targets, partner, *step_keys(step, 8))
        of_step = soft.diagonal()
        assert of_step.unique().numel() == 1
        shares.append(float(of_step[0]))
    assert kstest(shares, beta(0.1, 0.1).cdf).pvalue > 0.01


def test_noise_from_before_mixing_could_be_per_step_has_the_same_identity():
    assert "mixing" not in NoiseSettings(mixup=0.1).deciding()
    assert NoiseSettings(mixup=0.1, mixing="step").deciding()["mixing"] == "step"
