"""Properties of every corruption: independence of the batch, the named strength, and clear errors."""

import math

import pytest
import torch
from PIL import Image

from corruption_references import SEED, images
from noisystudent.errors import DataError, SettingsError
from noisystudent.evaluation.corruptions import generate as module
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields
from noisystudent.evaluation.corruptions.generate import available_corruptions, corrupt
from noisystudent.evaluation.corruptions.tables import CORRUPTIONS, TEST_CORRUPTIONS
from noisystudent.noise.counter_rng import CounterRng

RANDOM = set(CORRUPTIONS) - {
    *(
        "defocus_blur",
        "zoom_blur",
        "gaussian_blur",
        "brightness",
        "contrast",
        "pixelate",
        "jpeg_compression",
        "saturate",
    )
}


@pytest.fixture(scope="module")
def textures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frost")
    for number, texture in enumerate(images(5, 330)):
        Image.fromarray(texture.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize(("size", "severity"), [(32, 2), (96, 3), (160, 5)])
def test_the_corruption_of_an_image_does_not_depend_on_its_batch(name, size, severity, textures):
    clean, index = images(7, size), torch.tensor([5, 0, 123456789, 2, 9, 4, 77])

    def of(rows):
        given = clean[rows].clone()
        changed = corrupt(given, name, severity, index=index[rows], seed=SEED, frost_textures=textures)
        assert torch.equal(given, clean[rows])
        assert changed.dtype == torch.uint8
        assert changed.shape == given.shape
        return changed

    together = of(torch.arange(7))
    assert torch.equal(of(torch.tensor([3, 1])), together[[3, 1]])
    assert torch.equal(of(torch.tensor([6])), together[6:])
    assert not torch.equal(together, clean)


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_random_corruptions_change_with_index_seed_and_severity(name, textures):
    clean = images(1, 64).expand(2, -1, -1, -1)

    def of(index, seed, severity=2):
        given = torch.tensor(index)
        return corrupt(clean[: len(index)], name, severity, index=given, seed=seed, frost_textures=textures)

    first = of([0, 1], 0)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(first, of([0, 1], 0))
    assert not torch.equal(first[:1], of([0], 1))
    assert not torch.equal(first[:1], of([0], 0, severity=3))


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - RANDOM))
def test_other_corruptions_use_no_random_numbers(name):
    clean = images(1, 32)
    first = corrupt(clean, name, 2, index=torch.tensor([0]), seed=0)
    assert torch.equal(first, corrupt(clean, name, 2, index=torch.tensor([8]), seed=1))


def test_corruptions_do_not_share_random_numbers():
    epoch = torch.zeros(1, dtype=torch.int64)
    fields = [
        CounterRng(0, f"corruption/{name}/{severity}").uniform(epoch, epoch, 8)
        for name in CORRUPTIONS
        for severity in (1, 2)
    ]
    assert len({tuple(field[0].tolist()) for field in fields}) == 2 * len(CORRUPTIONS)


def test_random_numbers_are_multiples_that_are_exact_on_every_device():
    # int64 words and one product with a power of two: no operation that devices round differently.
    field = RandomFields(CounterRng(3, "corruption/snow/1"), torch.arange(4)).uniform(50, first=7)
    scaled = field.double() * 2**24
    assert torch.equal(scaled, scaled.round())
    first = CounterRng(3, "corruption/snow/1").uniform(torch.zeros(1, dtype=torch.int64), torch.tensor([2]), 57)[0, 7:]
    assert torch.equal(field[2], first)


@pytest.mark.parametrize(
    "name", sorted(set(CORRUPTIONS) - {"gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"})
)
def test_a_gray_image_is_corrupted_like_three_equal_channels(name, textures):
    gray, index = images(2, 64, 1), torch.arange(2)
    alone = corrupt(gray, name, 4, index=index, seed=SEED, frost_textures=textures)
    color = corrupt(gray.expand(-1, 3, -1, -1).contiguous(), name, 4, index=index, seed=SEED, frost_textures=textures)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    # One truncation instead of three: a difference of about a level where no channel is clipped.
    inner = (color > 0).all(dim=1) & (color < 255).all(dim=1)
    difference = (alone.float() - (color * weights).sum(dim=1, keepdim=True)).abs().squeeze(1)
    assert float(difference[inner].max()) <= 1.01
    assert alone.shape == gray.shape


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"])
def test_noise_of_a_gray_image_is_that_of_one_channel(name):
    color, index = images(2, 64), torch.arange(2)
    alone = corrupt(color[:, :1].contiguous(), name, 4, index=index, seed=SEED)
    assert torch.equal(alone, corrupt(color, name, 4, index=index, seed=SEED)[:, :1])


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("table", [None, 32, 299])
def test_the_smallest_images_can_be_corrupted(name, table, textures):
    clean = images(3, 8)
    changed = corrupt(clean, name, 5, index=torch.arange(3), seed=0, table=table, frost_textures=textures)
    assert changed.shape == clean.shape
    assert corrupt(clean[:0], name, 5, index=torch.arange(0), seed=0, frost_textures=textures).shape == (0, 3, 8, 8)


def test_the_table_of_the_images_size_is_the_default():
    clean, index = images(1, 64), torch.tensor([0])
    of_its_size = corrupt(clean, "contrast", 3, index=index, seed=0)
    assert torch.equal(of_its_size, corrupt(clean, "contrast", 3, index=index, seed=0, table=64))
    assert not torch.equal(of_its_size, corrupt(clean, "contrast", 3, index=index, seed=0, table=32))


def test_chunks_and_threads_change_nothing(monkeypatch):
    clean, index = images(9, 64), torch.arange(9)
    whole = {
        name: corrupt(clean, name, 3, index=index, seed=0) for name in ("snow", "fog", "defocus_blur", "zoom_blur")
    }
    monkeypatch.setattr(module, "images_at_once", lambda pixels: 2)
    for name, expected in whole.items():
        assert torch.equal(corrupt(clean, name, 3, index=index, seed=0), expected)


def test_unknown_names_and_severities_are_refused():
    clean, index = images(1, 32), torch.tensor([0])
    with pytest.raises(SettingsError, match=r"no corruption 'jpeg'"):
        corrupt(clean, "jpeg", 1, index=index, seed=0)
    for severity in (0, 6):
        with pytest.raises(SettingsError, match=f"1, 2, 3, 4 or 5, not {severity}"):
            corrupt(clean, "fog", severity, index=index, seed=0)
    with pytest.raises(SettingsError, match="no table of corruptions for 100 px"):
        corrupt(clean, "fog", 1, index=index, seed=0, table=100)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.zeros(1, 3, 32, 32), r"not torch.float32 \[1, 3, 32, 32\]"),
        (torch.zeros(3, 32, 32, dtype=torch.uint8), r"not torch.uint8 \[3, 32, 32\]"),
        (torch.zeros(1, 32, 32, 3, dtype=torch.uint8), "one or three channels"),
        (torch.zeros(1, 3, 32, 30, dtype=torch.uint8), "Crop them to squares"),
        (torch.zeros(1, 3, 7, 7, dtype=torch.uint8), "an edge of at least 8 px, not 7"),
    ],
)
def test_other_images_are_refused(pixels, message):
    with pytest.raises(DataError, match=message):
        corrupt(pixels, "fog", 1, index=torch.tensor([0]), seed=0)


@pytest.mark.parametrize("index", [torch.tensor([0, 1]), torch.tensor([0.0]), torch.tensor([0], dtype=torch.int32)])
def test_another_index_is_refused(index):
    with pytest.raises(DataError, match="one int64 number for each of the 1"):
        corrupt(images(1, 32), "fog", 1, index=index, seed=0)


def test_fifteen_corruptions_are_available_or_fourteen_without_textures(monkeypatch, textures, tmp_path):
    monkeypatch.setattr("noisystudent.evaluation.corruptions.filters.frost._installed_folder", lambda: None)
    assert available_corruptions() == tuple(name for name in TEST_CORRUPTIONS if name != "frost")
    assert len(available_corruptions(tmp_path)) == 14
    assert available_corruptions(textures) == TEST_CORRUPTIONS
    monkeypatch.setattr("noisystudent.evaluation.corruptions.filters.frost._installed_folder", lambda: textures)
    assert available_corruptions() == TEST_CORRUPTIONS


@pytest.mark.gpu
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_gpu_makes_the_same_images(name, textures):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    clean, index = images(4, 64), torch.arange(4)
    here = corrupt(clean, name, 3, index=index, seed=0, frost_textures=textures)
    there = corrupt(clean.cuda(), name, 3, index=index, seed=0, frost_textures=textures).cpu()
    difference = (here.int() - there.int()).abs()
    assert int(difference.max()) <= 1
    assert math.isclose(float(difference.float().mean()), 0, abs_tol=0.02)
