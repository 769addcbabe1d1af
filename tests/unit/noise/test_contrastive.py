"""Views for contrastive pretraining: torchvision's operations, their frequencies, and independent random numbers."""

from dataclasses import replace

import pytest
import torch
import torchvision.transforms.v2.functional as reference
from torchvision.transforms.v2 import ColorJitter

from noisystudent.noise.contrastive import ContrastiveView, brightness, contrast, gaussian_blur, hue, saturation
from noisystudent.noise.counter_rng import CounterRng

FACTORS = torch.tensor([0.0, 0.4, 1.0, 1.3, 1.8])
OPERATIONS = {
    "brightness": (brightness, reference.adjust_brightness, FACTORS),
    "contrast": (contrast, reference.adjust_contrast, FACTORS),
    "saturation": (saturation, reference.adjust_saturation, FACTORS),
    "hue": (hue, reference.adjust_hue, torch.tensor([-0.5, -0.2, 0.0, 0.1, 0.5])),
}


def images(count: int, edge: int = 12, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, edge, edge, generator=torch.Generator().manual_seed(0))


def stored(count: int, edge: int = 16, channels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return (images(count, edge, channels) * 255).to(torch.uint8), torch.full((count, 2), edge)


def view(**changed) -> ContrastiveView:
    plain = ContrastiveView(
        size=16, area=1.0, color=0.0, blur=False, mirror=False, rng=CounterRng(0, "test"), storage_size=16
    )
    return replace(plain, **changed)


@pytest.mark.parametrize("name", OPERATIONS)
def test_color_operations_are_those_of_torchvision(name):
    own, other, amounts = OPERATIONS[name]
    values = images(5)
    values[0, :, :4] = values[0, :1, :4]  # a part is gray, whose hue is nothing
    for row, amount in enumerate(amounts.tolist()):
        torch.testing.assert_close(own(values, amounts)[row], other(values[row], amount), rtol=0, atol=3e-6)


def test_the_blur_is_that_of_torchvision():
    values, sigmas = images(4), torch.tensor([0.1, 0.6, 1.2, 2.0])
    for row, sigma in enumerate(sigmas.tolist()):
        expected = reference.gaussian_blur(values[row], [5, 5], [sigma, sigma])
        torch.testing.assert_close(gaussian_blur(values, sigmas, 2)[row], expected, rtol=0, atol=1e-6)


def test_jittered_images_have_the_statistics_of_torchvisions_color_jitter():
    count = 6000
    pixels, sizes = stored(1, 8)
    pixels, sizes = pixels.expand(count, -1, -1, -1), sizes.expand(count, -1)
    made = view(size=8, storage_size=8, color=1.0)(pixels, sizes, torch.zeros(count).long(), torch.arange(count))
    torch.manual_seed(0)
    jitter = ColorJitter(0.8, 0.8, 0.8, 0.2)
    values = pixels[:1].float()[0] / 255
    rolls = torch.rand(count, 2)
    other = torch.stack([jitter(values) if roll < 0.8 else values for roll in rolls[:, 0].tolist()])
    gray = reference.rgb_to_grayscale(other, num_output_channels=3)
    other = torch.where((rolls[:, 1] < 0.2)[:, None, None, None], gray, other)
    own = made.float() / 255
    for statistic in (lambda part: part.mean(dim=(2, 3)), lambda part: part.std(dim=1).mean(dim=(1, 2))[:, None]):
        left, right = statistic(own), statistic(other)
        torch.testing.assert_close(left.mean(0), right.mean(0), rtol=0, atol=0.015)
        torch.testing.assert_close(left.std(0), right.std(0), rtol=0, atol=0.015)


def test_a_fifth_of_the_views_is_gray_and_half_is_mirrored_or_blurred():
    count = 3000
    pixels, sizes = stored(1, 40)
    pixels, sizes = pixels.expand(count, -1, -1, -1), sizes.expand(count, -1)
    addresses = torch.zeros(count).long(), torch.arange(count)

    def share_of_changed(**changed) -> float:
        made = view(size=40, storage_size=40, **changed)(pixels, sizes, *addresses)
        return float((made != plain).flatten(1).any(dim=1).float().mean())

    plain = pixels
    assert share_of_changed() == pytest.approx(0.2, abs=0.03)
    assert share_of_changed(mirror=True) == pytest.approx(1 - 0.8 * 0.5, abs=0.03)
    assert share_of_changed(blur=True) == pytest.approx(1 - 0.8 * 0.5, abs=0.06)  # the weakest blurs change nothing


def test_both_views_of_an_image_and_those_of_all_epochs_are_independent():
    pixels, sizes = stored(1)
    pixels, sizes = pixels.expand(8, -1, -1, -1), sizes.expand(8, -1)
    make = view(area=0.08, color=0.5, mirror=True)
    index = torch.zeros(8).long()
    made = make(pixels, sizes, torch.arange(8), index)
    assert len({image.numpy().tobytes() for image in made}) == 8
    again = make(pixels.flip(0), sizes, torch.arange(8).flip(0), index).flip(0)
    assert torch.equal(made, again)  # a view depends on its own address alone


def test_gray_images_keep_one_channel_and_change_in_brightness_and_contrast():
    pixels, sizes = stored(32, channels=1)
    made = view(color=1.0)(pixels, sizes, torch.zeros(32).long(), torch.arange(32))
    assert made.shape == pixels.shape
    assert made.dtype == torch.uint8
    assert not torch.equal(made, pixels)
