"""Input noise as a whole: boxes, cutout, the draws of operations, independence of the batch, settings."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from pydantic import ValidationError

from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.crop import PlainView, flip, random_boxes, resized_crop, smallest_area
from noisystudent.noise.input import InputNoise
from noisystudent.noise.pixels import choose, to_bytes
from noisystudent.noise.policies import PUBLISHED_DISTANCES, apply_operation
from noisystudent.noise.randaugment import RandAugment
from noisystudent.noise.settings import OPERATIONS, NoiseSettings


def random_pixels(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def uniforms(rows: int, count: int) -> torch.Tensor:
    return CounterRng(5, "test").uniform(torch.zeros(rows, dtype=torch.int64), torch.arange(rows), count)


@pytest.mark.parametrize(("height", "width"), [(96, 96), (96, 128), (144, 96), (100, 300)])
def test_boxes_fit_and_have_the_given_area_and_aspect(height, width):
    boxes = random_boxes(torch.tensor([[height, width]]).expand(4000, 2), uniforms(4000, 4), 0.2)
    top, left, tall, wide = boxes.double().unbind(1)
    assert (boxes[:, :2] >= 0).all()
    assert (top + tall <= height).all()
    assert (left + wide <= width).all()
    assert ((wide + 0.5) / (tall - 0.5) >= 3 / 4).all()
    assert ((wide - 0.5) / (tall + 0.5) <= 4 / 3).all()
    area = tall * wide / (height * width)
    largest = min(1.0, 4 / 3 / (width / height), 4 / 3 * (width / height))
    assert area.min() > 0.19
    assert area.quantile(0.5).item() == pytest.approx((0.2 + largest) / 2, abs=0.03)
    for start, largest_start in ((top, height - tall), (left, width - wide)):  # positions are uniform
        assert (start / largest_start)[largest_start > 9].mean().item() == pytest.approx(0.5, abs=0.03)


def test_a_resized_crop_is_bilinear_sampling_of_its_box():
    pixels, sizes, draws = random_pixels(8, 3, 40, 56), torch.tensor([[40, 50]]).expand(8, 2), uniforms(8, 4)
    ours = resized_crop(pixels, sizes, draws, size=48, area=0.3)
    for image, box, cut in zip(pixels, random_boxes(sizes, draws, 0.3).tolist(), ours, strict=True):
        top, left, height, width = box
        region = image[None, :, top : top + height, left : left + width].double()
        resized = torch.nn.functional.interpolate(region, (48, 48), mode="bilinear", align_corners=False)[0]
        assert (cut - resized).abs().max() <= 0.51  # rounded to a level


def test_the_crop_reaches_further_at_greater_strength():
    assert [smallest_area(0.08, strength) for strength in (0.0, 0.5, 1.0, 2.0)] == pytest.approx([1, 0.54, 0.08, 0.05])


@pytest.mark.parametrize("crop", ["auto", "pad", "resized", "window", "none"])
@pytest.mark.parametrize(("size", "stored"), [(32, 32), (96, 128)])
def test_strength_zero_is_the_plain_view(size, stored, crop):
    pixels = random_pixels(4, 3, stored, stored * 3 // 2)
    sizes, index = torch.tensor([[stored, stored], [stored, stored * 3 // 2]]).repeat(2, 1), torch.arange(4)
    noise = InputNoise(
        NoiseSettings(crop=crop), size=size, strength=0.0, rng=CounterRng(0, "test"), storage_size=stored
    )
    assert torch.equal(noise(pixels, sizes, index, index), PlainView(size)(pixels, sizes))


@pytest.mark.parametrize("crop", ["pad", "resized", "none"])
def test_noise_depends_on_the_image_alone_for_every_crop_and_mixed_sizes(crop):
    noise = InputNoise(NoiseSettings(crop=crop, flip=True), size=24, strength=1.0, rng=CounterRng(3, "test"))
    pixels = random_pixels(37, 3, 36, 36)
    sizes = torch.tensor([[24, 24 + i % 13] if i % 2 else [24 + i % 13, 24] for i in range(37)])
    epoch, index = torch.full((37,), 2), torch.arange(37) * 1000
    whole = noise(pixels, sizes, epoch, index)
    assert whole.shape == (37, 3, 24, 24)
    order = torch.randperm(37, generator=torch.Generator().manual_seed(1))
    parts = [noise(pixels[p], sizes[p], epoch[p], index[p]) for p in order.split([1, 2, 5, 13, 16])]
    assert torch.equal(torch.cat(parts), whole[order])


@pytest.mark.parametrize("crop", ["pad", "resized", "none"])
def test_noise_is_the_same_bits_whatever_the_number_of_threads(crop):
    noise = InputNoise(NoiseSettings(crop=crop, flip=True), size=224, strength=1.0, rng=CounterRng(3, "test"))
    pixels, sizes = random_pixels(24, 3, 256, 270), torch.tensor([[256, 270], [256, 256]]).repeat(12, 1)
    before, index = torch.get_num_threads(), torch.arange(24)
    views = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        views.append(noise(pixels, sizes, index, index))
    torch.set_num_threads(before)
    assert all(torch.equal(view, views[0]) for view in views)


def test_pixels_outside_the_valid_part_have_no_effect():
    pixels = random_pixels(16, 1, 36, 36).clamp(min=100)
    valid = torch.tensor([[24, 24 + 2 * (i % 6)] for i in range(16)])
    for image, (height, width) in zip(pixels, valid.tolist(), strict=True):
        image[:, height:] = 0
        image[:, :, width:] = 0
    index = torch.arange(16)
    for crop in ("pad", "resized", "none"):
        settings = NoiseSettings(crop=crop, randaugment=False)
        noise = InputNoise(settings, size=24, strength=1.5, rng=CounterRng(1, "test"))
        assert noise(pixels, valid, index, index).min() >= 100


@pytest.mark.parametrize("magnitude", [4.0, 10.0, 30.0])
def test_cutout_matches_pillows_rectangle_at_any_center(magnitude):
    pixels, draws = random_pixels(40, 3, 33, 47), uniforms(40, 3)
    ours = apply_operation("Cutout", pixels, magnitude, draws, PUBLISHED_DISTANCES.scaled(min(pixels.shape[-2:]) / 224))
    pad = int(magnitude / 10 * 40 * 33 / 224)
    for image, (_, down, right), cut in zip(pixels, draws.tolist(), ours, strict=True):
        row, column = int(down * 33), int(right * 47)
        canvas = Image.fromarray(image.permute(1, 2, 0).numpy())
        corners = (column - pad, row - pad, column + pad - 1, row + pad - 1)
        ImageDraw.Draw(canvas).rectangle(corners, fill=(128, 128, 128))
        np.testing.assert_array_equal(cut.permute(1, 2, 0).numpy(), np.asarray(canvas))


def test_every_layer_draws_each_operation_equally_often():
    rows, layers = 6400, 2
    draws = uniforms(rows, RandAugment(layers=layers, magnitude=10.0).draws).view(rows, layers, -1)
    drawn = (draws[:, :, 0] * len(OPERATIONS)).long()
    for layer in drawn.unbind(1):
        counts = torch.bincount(layer, minlength=16)
        assert ((counts - 400).abs() < 4 * (400 * 15 / 16) ** 0.5).all()
    pairs = torch.bincount(drawn[:, 0] * 16 + drawn[:, 1], minlength=256)  # layers are independent: all pairs occur
    assert pairs.min() > 4


def test_randaugment_is_its_operations_one_after_the_other():
    augment = RandAugment(layers=2, magnitude=9.0, policy="paper")
    pixels, draws = random_pixels(60, 3, 20, 20), uniforms(60, augment.draws)
    ours = augment(pixels, draws)
    for i in range(60):
        image = pixels[i : i + 1]
        for layer in draws[i].view(2, 1, 4).unbind(0):
            name = OPERATIONS[int(layer[0, 0] * 16)]
            image = apply_operation(
                name, image, 9.0, layer[:, 1:], PUBLISHED_DISTANCES.scaled(min(pixels.shape[-2:]) / 224)
            )
        assert torch.equal(ours[i], image[0])


def test_pixel_distances_scale_with_the_image_by_default():
    pixels, draws = random_pixels(1, 1, 56, 56), torch.tensor([[0.9, 0.5, 0.5]])
    scaled = apply_operation("TranslateX", pixels, 4.0, draws, PUBLISHED_DISTANCES.scaled(min(pixels.shape[-2:]) / 224))
    plain = apply_operation("TranslateX", pixels, 4.0, draws, PUBLISHED_DISTANCES)
    assert torch.equal(scaled[..., :46], pixels[..., 10:])
    assert torch.equal(plain[..., :16], pixels[..., 40:])


def test_flip_mirrors_the_chosen_images_only():
    pixels, chosen = random_pixels(5, 3, 8, 9), torch.tensor([True, False, True, True, False])
    expected = torch.where(chosen[:, None, None, None], pixels.flip(3), pixels)
    assert torch.equal(flip(pixels, chosen), expected)
    assert torch.equal(choose(chosen, pixels.flip(3), pixels), expected)


def test_to_bytes_clips_and_truncates():
    values = torch.tensor([-7.0, 0.0, 0.99, 1.0, 254.999, 255.0, 256.0, 1e9])
    assert to_bytes(values).tolist() == [0, 0, 0, 1, 254, 255, 255, 255]


@pytest.mark.parametrize(
    "wrong",
    [
        {"strength": 2.1},
        {"strength": "much"},
        {"strengths": ()},
        {"strengths": (0.5, 0.5)},
        {"magnitude": 31},
        {"layers": 0},
        {"dropout": 1.0},
        {"stochastic_depth": -0.1},
        {"crop": "random"},
        {"pad": 0.6},
        {"resized_area": 0.0},
        {"randaug": True},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        NoiseSettings(**wrong)


def test_the_automatic_crop_pads_small_images_and_resizes_large_ones():
    assert [NoiseSettings().crop_at(size) for size in (8, 64, 65, 224)] == ["pad", "pad", "resized", "resized"]
    assert NoiseSettings(crop="none").crop_at(224) == "none"
    assert all(field.description for field in NoiseSettings.model_fields.values())


@pytest.mark.parametrize("crop", ["pad", "resized", "none"])
def test_a_small_model_sees_the_plain_view_of_images_stored_for_a_larger_one(crop):
    pixels = torch.zeros(4, 1, 160, 160, dtype=torch.uint8)
    pixels[:, :, 80:] = 255
    sizes = torch.full((4, 2), 160)
    settings = NoiseSettings(crop=crop, randaugment=False)
    noise = InputNoise(settings, size=32, strength=0.0, rng=CounterRng(0, "test"), storage_size=160)
    zeros = torch.zeros(4, dtype=torch.int64)
    views = noise(pixels, sizes, zeros, torch.arange(4)).float()
    assert (views - PlainView(32)(pixels, sizes).float()).abs().mean() < 2


def test_a_resized_crop_of_images_stored_larger_does_not_alias():
    # Stripes of one pixel cannot be shown at a fifth of the size: only their mean may remain.
    pixels = (torch.arange(160) % 2 * 255).to(torch.uint8).expand(8, 1, 160, 160)
    settings = NoiseSettings(crop="resized", randaugment=False)
    noise = InputNoise(settings, size=32, strength=0.2, rng=CounterRng(0, "test"), storage_size=160)
    views = noise(pixels, torch.full((8, 2), 160), torch.zeros(8, dtype=torch.int64), torch.arange(8)).float()
    assert (views - 127.5).abs().mean() < 40
