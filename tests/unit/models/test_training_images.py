"""A checkpoint knows its labeled training images by digests, and nothing is claimed without a record."""

import hashlib

import numpy as np
import pytest

from noisystudent.models import training_images
from noisystudent.models.training_images import (
    TRAINING_IMAGES,
    count_training_images,
    read_training_images,
    write_training_images,
)

DIGESTS = [hashlib.sha256(bytes([number])).hexdigest() for number in range(20)]


def test_the_images_that_were_written_are_counted(tmp_path):
    write_training_images(tmp_path, DIGESTS[:12])
    known = read_training_images(tmp_path)
    assert count_training_images(DIGESTS, known) == 12
    assert count_training_images(DIGESTS[12:], known) == 0
    assert count_training_images([], known) == 0
    assert (tmp_path / TRAINING_IMAGES).stat().st_size <= 128 + 8 * 12


def test_without_a_record_nothing_is_claimed(tmp_path, monkeypatch):
    assert read_training_images(tmp_path) is None
    assert count_training_images(DIGESTS, None) is None
    write_training_images(tmp_path, [])
    monkeypatch.setattr(training_images, "MOST_IMAGES", 5)
    write_training_images(tmp_path, DIGESTS)
    assert not (tmp_path / TRAINING_IMAGES).exists()


@pytest.mark.parametrize("content", [b"", b"not an array", b"\x93NUMPY\x01\x00"])
def test_a_damaged_record_is_no_record(tmp_path, content):
    (tmp_path / TRAINING_IMAGES).write_bytes(content)
    assert read_training_images(tmp_path) is None


def test_a_record_of_another_kind_is_no_record(tmp_path):
    np.save(tmp_path / TRAINING_IMAGES, np.zeros((2, 2)))
    assert read_training_images(tmp_path) is None
