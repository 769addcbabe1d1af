"""Decoded images: size on the canvas, digests, failures, and the memory limit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from data_images import (
    ListSource,
    array_source,
    class_folders,
    encoded,
    noise_image,
    png,
    smooth_image,
    write_image,
)
from noisystudent.data.images import (
    Failure,
    ImageFormat,
    Images,
    decode_shard,
    decode_source,
    infer_format,
)
from noisystudent.data.settings import DataSettings
from noisystudent.data.source import Source
from noisystudent.data.sources.folder import FolderSource
from noisystudent.errors import DataError


def decode(source: Source, format: ImageFormat, *, max_corrupt_fraction=0.0, memory_limit_gb=1.0) -> Images:
    return decode_source(source, format, max_corrupt_fraction=max_corrupt_fraction, memory_limit_gb=memory_limit_gb)


def valid(images: Images, row: int) -> np.ndarray:
    """The valid pixels of one image, [H, W, C]."""
    height, width = images.sizes[row]
    return images.pixels[row, :, :height, :width].transpose(1, 2, 0)


@pytest.mark.parametrize(("size", "edge"), [(8, 8), (64, 64), (65, 97), (224, 256)])
def test_storage_size_leaves_a_margin_for_the_official_crop(size, edge):
    assert ImageFormat(size, 3).storage_size == edge


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_the_stored_size_keep_every_bit(channels):
    arrays = np.stack([noise_image(20, 20, seed=seed, channels=channels) for seed in range(5)])
    decoded = decode(array_source(arrays, [0, 1, 0, 1, 1]), ImageFormat(20, channels))
    assert decoded.pixels.dtype == np.uint8
    assert np.array_equal(decoded.pixels, arrays.reshape(5, 20, 20, channels).transpose(0, 3, 1, 2))
    assert decoded.sizes.tolist() == [[20, 20]] * 5
    assert decoded.sizes.dtype == np.int32
    assert decoded.labels.tolist() == [0, 1, 0, 1, 1]
    assert decoded.labels.dtype == np.int64
    assert decoded.keys == tuple(f"row-{row}" for row in range(5))
    assert decoded.classes == ("class-0", "class-1")
    assert decoded.failures == ()
    assert len(decoded) == 5


def test_a_long_edge_of_the_stored_size_is_only_cropped():
    wide, tall = noise_image(16, 50), noise_image(23, 16)
    decoded = decode(ListSource([png(wide), png(tall)]), ImageFormat(16, 3))
    assert decoded.pixels.shape == (2, 3, 23, 24)
    assert decoded.sizes.tolist() == [[16, 24], [23, 16]]
    assert np.array_equal(valid(decoded, 0), wide[:, 13:37])
    assert np.array_equal(valid(decoded, 1), tall)
    assert not decoded.pixels[0, :, 16:].any()
    assert not decoded.pixels[1, :, :, 16:].any()


@pytest.mark.parametrize(
    ("height", "width", "stored"),
    [(60, 80, (20, 27)), (100, 70, (29, 20)), (40, 60, (20, 30)), (10, 12, (20, 24))],
)
def test_resizing_is_pillows_antialiased_bicubic(height, width, stored):
    pixels = noise_image(height, width)
    decoded = decode(ListSource([png(pixels)]), ImageFormat(20, 3))
    assert tuple(decoded.sizes[0]) == stored
    expected = Image.fromarray(pixels).resize(stored[::-1], Image.Resampling.BICUBIC, reducing_gap=None)
    assert np.array_equal(valid(decoded, 0), np.asarray(expected))


def test_resizing_a_gradient_keeps_it():
    decoded = decode(ListSource([png(smooth_image(90, 90))]), ImageFormat(30, 3))
    # Independent of Pillow: antialiased downscaling by 3 of a linear gradient is its mean over 3x3 blocks.
    blocks = smooth_image(90, 90).reshape(30, 3, 30, 3, 3).mean(axis=(1, 3))
    assert np.abs(valid(decoded, 0)[2:-2, 2:-2] - blocks[2:-2, 2:-2]).max() <= 1


@given(height=st.integers(1, 300), width=st.integers(1, 300), size=st.integers(8, 80))
def test_every_shape_fits_the_canvas(height, width, size):
    format = ImageFormat(size, 1)
    decoded = decode_shard(ListSource([np.full((height, width), 200, np.uint8)]), 0, format)
    assert decoded.sizes[0].min() == format.storage_size
    assert decoded.sizes[0].max() <= 1.5 * format.storage_size
    if max(height, width) <= 1.5 * min(height, width):
        expected = max(height, width) * format.storage_size / min(height, width)
        assert abs(decoded.sizes[0].max() - expected) <= 0.5
    assert (valid(decoded, 0) == 200).all()


def test_an_extreme_shape_is_cropped_before_it_grows():
    needle = encoded(Image.new("L", (1, 60_000), 99), "PNG")
    decoded = decode(ListSource([needle]), ImageFormat(224, 1), memory_limit_gb=0.001)
    assert decoded.sizes.tolist() == [[256, 256]]


def test_canvases_of_different_shards_are_joined():
    shards = [
        [noise_image(10, 10, seed=1)],
        [noise_image(10, 14, seed=2), noise_image(12, 10, seed=3)],
        [b"bad"],
    ]
    source = ListSource(*shards)
    decoded = decode(source, ImageFormat(10, 3), max_corrupt_fraction=0.3)
    assert decoded.pixels.shape == (3, 3, 12, 14)
    assert decoded.keys == ("0/0", "1/0", "1/1")
    for row, pixels in enumerate([shards[0][0], *shards[1]]):
        assert np.array_equal(valid(decoded, row), pixels)
        assert decoded.pixels[row].sum() == pixels.sum()  # zeros beyond the image
    for shard, rows in enumerate([[0], [1, 2], []]):
        part = decode_shard(source, shard, ImageFormat(10, 3))
        assert part.keys == tuple(decoded.keys[row] for row in rows)
        assert part.digests == tuple(decoded.digests[row] for row in rows)
        assert all(np.array_equal(valid(part, at), valid(decoded, row)) for at, row in enumerate(rows))


def test_digests_are_of_the_stored_pixels_whatever_the_file():
    pixels = noise_image(16, 16)
    shifted = pixels.copy()
    shifted[3, 3, 0] ^= 1
    image = Image.fromarray(pixels)
    files = [png(pixels), encoded(image, "BMP"), encoded(image, "WEBP", lossless=True), pixels, png(shifted)]
    decoded = decode(ListSource(files, [noise_image(16, 20)]), ImageFormat(16, 3))
    assert len(set(decoded.digests[:4])) == 1
    assert len(set(decoded.digests)) == 3


def test_digests_tell_shapes_apart():
    decoded = decode(ListSource([np.zeros((8, 9), np.uint8), np.zeros((9, 8), np.uint8)]), ImageFormat(8, 1))
    assert decoded.digests[0] != decoded.digests[1]


def test_failures_are_named_and_other_images_keep_their_order():
    good = [noise_image(8, 8, seed=seed) for seed in range(40)]
    mixed: list = list(good)
    mixed[3], mixed[20] = b"", png(noise_image(64, 64))[:300]
    decoded = decode(ListSource(mixed), ImageFormat(8, 3), max_corrupt_fraction=0.05)
    assert [failure.key for failure in decoded.failures] == ["0/3", "0/20"]
    assert decoded.failures[0] == Failure("0/3", "the file is empty")
    remaining = [row for row in range(40) if row not in (3, 20)]
    assert decoded.keys == tuple(f"0/{row}" for row in remaining)
    assert all(np.array_equal(valid(decoded, at), good[row]) for at, row in enumerate(remaining))


def test_a_file_that_vanishes_is_a_failure(tmp_path):
    class_folders(tmp_path, per_class=15)
    source = FolderSource(tmp_path, labeled=True)
    (tmp_path / "cat" / "3.png").unlink()
    decoded = decode(source, ImageFormat(12, 3), max_corrupt_fraction=0.05)
    assert decoded.failures == (Failure("cat/3.png", "the file cannot be read (No such file or directory)"),)
    assert np.bincount(decoded.labels).tolist() == [14, 15]


def test_too_many_failures_are_refused_with_names_and_the_setting():
    source = ListSource([b"bad"] * 7 + [noise_image(8, 8)] * 93)
    with pytest.raises(DataError) as caught:
        decode(source, ImageFormat(8, 3), max_corrupt_fraction=0.05)
    message = str(caught.value)
    assert "7 of the 100 images of 'list'" in message
    assert "'0/0': not a JPEG" in message
    assert "'0/4'" in message
    assert "'0/5'" not in message
    assert "and 2 more" in message
    assert "data.max_corrupt_fraction 0.05" in message
    assert len(decode(source, ImageFormat(8, 3), max_corrupt_fraction=0.07)) == 93


def test_decoding_stops_at_the_first_shard_with_too_many_failures():
    class FirstShardOnly(ListSource):
        def read(self, shard):
            assert shard == 0
            return super().read(shard)

    with pytest.raises(DataError, match="At least 10 of the 20"):
        decode(FirstShardOnly([b"bad"] * 10, [noise_image(8, 8)] * 10), ImageFormat(8, 3), max_corrupt_fraction=0.4)


def test_a_source_without_any_readable_image_is_refused():
    source = ListSource([b"bad", b""], [b"worse"])
    with pytest.raises(DataError, match="None of the 3 images of 'list' can be read"):
        decode(source, ImageFormat(8, 3), max_corrupt_fraction=1.0)
    with pytest.raises(DataError, match="None of the images of 'list' can be read"):
        infer_format(source, DataSettings())


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_of_no_class_in_a_labeled_source_is_refused(label):
    class Labeled(ListSource):
        classes = ("cat", "dog")

        def read(self, shard):
            for record in super().read(shard):
                yield replace(record, label=label if record.key == "0/1" else 0)

    with pytest.raises(DataError, match=f"image 0/1 of list has the label {label}, .* go from 0 to 1"):
        decode(Labeled([noise_image(8, 8)] * 3), ImageFormat(8, 3))


def test_too_much_memory_is_refused_before_anything_is_read():
    class Unread(ListSource):
        def read(self, shard):
            raise AssertionError("was read")

    source = Unread(*[[b""] * 1024] * 12)
    with pytest.raises(DataError) as caught:
        decode(source, ImageFormat(224, 3), memory_limit_gb=0.08)
    message = str(caught.value)
    assert "12,288 images of 'list' need 2.42 GB" in message
    assert "data.size 224" in message
    assert "data.memory_limit_gb allows 0.08" in message
    assert "smaller data.size, about 40" in message
    with pytest.raises(AssertionError, match="was read"):
        decode(source, ImageFormat(40, 3), memory_limit_gb=0.08)


def test_memory_of_wide_images_is_counted_once_their_width_is_known():
    shards = [[noise_image(100, 150)] * 5] * 2
    with pytest.raises(DataError, match=r"need 0\.000"):
        decode(ListSource(*shards), ImageFormat(64, 3), memory_limit_gb=10 * 3 * 64 * 64 / 1e9)
    decode(ListSource(*shards), ImageFormat(64, 3), memory_limit_gb=10 * 3 * 64 * 96 / 1e9)


def test_progress_counts_every_image_once():
    counts: list[int] = []
    decode_source(
        ListSource([noise_image(8, 8)] * 3, [b"", noise_image(8, 8)]),
        ImageFormat(8, 3),
        max_corrupt_fraction=0.5,
        memory_limit_gb=1,
        progress=counts.append,
    )
    assert counts == [3, 2]


def test_decoding_twice_gives_the_same(tmp_path):
    source = FolderSource(class_folders(tmp_path, per_class=30), labeled=True)
    first, second = (decode(source, ImageFormat(16, 3)) for _ in range(2))
    assert first.digests == second.digests
    assert first.keys == second.keys
    assert np.array_equal(first.pixels, second.pixels)


def test_take_and_without_labels():
    arrays = np.stack([noise_image(8, 8, seed=seed) for seed in range(4)])
    whole = decode(array_source(arrays, [0, 1, 0, 1]), ImageFormat(8, 3))
    part = whole.take(np.array([3, 0, 3]))
    assert part.keys == ("row-3", "row-0", "row-3")
    assert part.labels.tolist() == [1, 0, 1]
    assert part.digests == (whole.digests[3], whole.digests[0], whole.digests[3])
    assert np.array_equal(part.pixels, whole.pixels[[3, 0, 3]])
    part.pixels[:] = 0
    assert whole.pixels[3].any()
    assert len(whole.take(np.arange(0))) == 0

    unlabeled = whole.without_labels()
    assert unlabeled.labels.tolist() == [-1] * 4
    assert unlabeled.classes is None
    assert unlabeled.pixels is whole.pixels
    assert whole.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("shapes", "size"),
    [
        ([(8, 8)] * 3, 8),
        ([(28, 28)] * 3, 28),
        ([(28, 40), (40, 28)], 28),
        ([(64, 64)], 64),
        ([(4, 4)], 8),
        ([(65, 65)], 64),
        ([(28, 28), (28, 29)], 32),
        ([(100, 300), (90, 120), (2000, 110)], 104),
        ([(500, 500)] * 2, 224),
        ([(3, 9), (4, 5)], 8),
    ],
)
def test_auto_size_comes_from_the_labeled_images(shapes, size):
    source = ListSource([np.zeros(shape, np.uint8) for shape in shapes])
    assert infer_format(source, DataSettings()) == ImageFormat(size, 1)
    assert infer_format(source, DataSettings(size=48)) == ImageFormat(48, 1)


def test_auto_channels_are_gray_only_if_all_images_are(tmp_path):
    write_image(tmp_path / "a.png", channels=1)
    source = FolderSource(tmp_path, labeled=False)
    assert infer_format(source, DataSettings()).channels == 1
    assert infer_format(source, DataSettings(channels="rgb")).channels == 3
    write_image(tmp_path / "b.png", channels=3)
    (tmp_path / "c.png").write_bytes(b"")
    source = FolderSource(tmp_path, labeled=False)
    assert infer_format(source, DataSettings()).channels == 3
    assert infer_format(source, DataSettings(channels="gray")) == ImageFormat(12, 1)


def test_a_given_format_needs_no_image():
    assert infer_format(ListSource(), DataSettings(size=96, channels="rgb")) == ImageFormat(96, 3)


def wide(*values: int) -> bytes:
    """A gray PNG file with 16 bits per channel, of 8 x 8 pixels, with these values repeated."""
    return encoded(Image.fromarray(np.resize(np.array(values, np.uint16), (8, 8))), "PNG")


@pytest.mark.parametrize("settings", [DataSettings(), DataSettings(size=8, channels="gray")])
def test_sixteen_bit_images_share_the_range_of_their_source(settings):
    source = ListSource([wide(0, 60), wide(4095, 2), noise_image(8, 8, channels=1)])
    format = infer_format(source, settings)
    assert format == ImageFormat(8, 1, bits=12)
    dark, bright, eight_bits = decode(source, format).pixels[:, 0]
    assert np.unique(dark).tolist() == [0, 4]
    assert np.unique(bright).tolist() == [0, 255]
    assert np.array_equal(eight_bits, noise_image(8, 8, channels=1))
    assert infer_format(ListSource([wide(20_000), wide(0)]), settings).bits == 16
    assert infer_format(ListSource([png(noise_image(8, 8))]), settings).bits is None
    brighter = decode(ListSource([wide(0, 4095, 8000)]), format)  # a test image beyond the range of training
    assert np.unique(brighter.pixels).tolist() == [0, 255]


def test_gray_and_color_images_get_one_format():
    gray, color = noise_image(8, 8, channels=1), noise_image(8, 8)
    assert decode(ListSource([gray, color]), ImageFormat(8, 3)).pixels.shape == (2, 3, 8, 8)
    assert np.array_equal(decode(ListSource([gray, color]), ImageFormat(8, 1)).pixels[0, 0], gray)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 7},
        {"size": "big"},
        {"channels": "cmyk"},
        {"validation_fraction": 1.0},
        {"validation_fraction": -0.1},
        {"few_labels": 1},
        {"max_corrupt_fraction": 1.5},
        {"memory_limit_gb": 0},
        {"sizes": 32},
    ],
    ids=str,
)
def test_settings_refuse_values_out_of_range(wrong):
    with pytest.raises(ValidationError):
        DataSettings(**wrong)


def test_every_setting_has_a_description_and_the_documented_default():
    assert all(field.description for field in DataSettings.model_fields.values())
    assert DataSettings().model_dump() == {
        "size": "auto",
        "resize": "aspect",
        "channels": "auto",
        "crop": "auto",
        "validation_fraction": 0.2,
        "few_labels": 25,
        "few_labels_beside_test": 250,
        "unlabeled_share": 1.0,
        "max_corrupt_fraction": 0.05,
        "near_duplicates": 10,
        "streaming": "auto",
        "window": 8192,
        "memory_limit_gb": 8.0,
    }


@pytest.mark.parametrize(("size", "edge"), [(32, 40), (64, 80), (128, 160), (480, 512)])
def test_squashed_images_are_stored_with_bits_pairs_of_edges(size, edge):
    assert ImageFormat(size, 3, squash=True).storage_size == edge


def test_squashed_images_lose_their_proportions_and_nothing_else():
    image = smooth_image(30, 90)
    decoded = decode(ListSource([png(image)]), ImageFormat(16, 3, squash=True))
    assert decoded.sizes.tolist() == [[20, 20]]
    expected = Image.fromarray(image).convert("RGB").resize((20, 20), Image.Resampling.BICUBIC)
    assert np.array_equal(valid(decoded, 0), np.asarray(expected))


@pytest.mark.parametrize(("height", "width", "size"), [(95, 97, 128), (96, 96, 480), (28, 28, 128), (300, 40, 480)])
def test_squashed_images_have_bits_sizes(height, width, size):
    source = ListSource([png(noise_image(height, width))])
    assert infer_format(source, DataSettings(resize="squash")).size == size
    assert infer_format(source, DataSettings(resize="squash", size=24)).size == 24
    assert infer_format(source, DataSettings(resize="squash", size=24, channels="rgb")).squash


def test_squashed_images_are_told_from_others_of_their_size():
    assert ImageFormat(128, 3, squash=True).identity != ImageFormat(128, 3).identity
