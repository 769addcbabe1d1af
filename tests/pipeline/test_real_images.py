"""The data package on real images."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from noisystudent.data.dedup.leakage import DuplicateIndex
from noisystudent.data.images import ImageFormat, decode_source, infer_format
from noisystudent.data.settings import DataSettings
from noisystudent.data.sources.open import open_source
from noisystudent.data.stratified import carve_validation
from shared_data import shared_file, unpack

pytestmark = pytest.mark.shared


def decode(source, format):
    return decode_source(source, format, max_corrupt_fraction=0.0, memory_limit_gb=2)


def test_sign_digits_are_read_bit_for_bit():
    folder = unpack("sign-digits-64")
    train, test = (open_source(folder / part, labeled=True) for part in ("train", "test"))
    assert train.classes == test.classes == tuple("0123456789")
    assert (sum(train.shard_sizes), sum(test.shard_sizes)) == (1644, 418)
    format = infer_format(train, DataSettings())
    assert format == ImageFormat(64, 3)
    images = decode(test, format)
    assert images.pixels.shape == (418, 3, 64, 64)
    for row in range(0, 418, 37):
        with Image.open(folder / "test" / images.keys[row]) as image:
            assert np.array_equal(images.pixels[row].transpose(1, 2, 0), np.asarray(image))
        assert images.keys[row].split("/")[0] == str(images.labels[row])
    assert DuplicateIndex(images, "none").identical(decode(train, format)) == {}


def test_unlabeled_sign_digits_give_their_classes_only_as_truth():
    folder = unpack("sign-digits-64") / "test"
    labeled, unlabeled = (open_source(folder, labeled=labeled) for labeled in (True, False))
    assert unlabeled.classes is None
    assert {record.label for record in unlabeled.read(0)} == {-1}
    assert unlabeled.truth(labeled.classes) == {record.key: str(record.label) for record in labeled.read(0)}
    format = ImageFormat(64, 3)
    assert decode(unlabeled, format).digests == decode(labeled, format).digests


def test_trashnet_has_uneven_classes_and_wide_images():
    source = open_source(unpack("trashnet-128") / "test", labeled=True)
    assert source.classes == ("cardboard", "glass", "metal", "paper", "plastic", "trash")
    format = infer_format(source, DataSettings())
    assert format == ImageFormat(128, 3)
    images = decode(source, format)
    assert len(images) == 508
    assert set(images.sizes.min(axis=1)) == {160}
    assert images.sizes.max() <= 240
    counts = np.bincount(images.labels)
    train, validation = carve_validation(images.labels, 0.2, 25, seed=0)
    assert np.array_equal(np.bincount(images.labels[validation]), np.rint(counts * 0.2))
    assert len(train) + len(validation) == 508


def test_fashion_mnist_is_lossless():
    path = shared_file("fashion-mnist.npz")
    source = open_source(f"{path}:test", labeled=True)
    format = infer_format(source, DataSettings())
    assert format == ImageFormat(28, 1)
    images = decode(source, format)
    with np.load(path) as file:
        assert np.array_equal(images.pixels[:, 0], file["x_test"])
        assert np.array_equal(images.labels, file["y_test"])
        assert images.classes == tuple(file["classes"].tolist())
