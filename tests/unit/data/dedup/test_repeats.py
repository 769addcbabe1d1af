"""Copies of an image under one label are counted, under several they are named."""

from dataclasses import replace

import numpy as np

from noisystudent.data.dedup.repeats import Conflict, count_repeats, find_conflicts
from noisystudent.data.images import Images
from scenes import as_images


def labeled(digests: str, labels: list[int]) -> Images:
    images = as_images([np.zeros((8, 8), np.uint8)] * len(labels))
    return replace(images, digests=tuple(digests), labels=np.array(labels), classes=("cat", "dog", "owl"))


def test_the_same_image_under_several_labels_is_named_with_its_classes():
    images = labeled("abacab", [0, 0, 1, 2, 2, 0])
    keys = images.keys
    assert find_conflicts(images) == (Conflict((keys[0], keys[2], keys[4]), ("cat", "dog", "owl")),)
    assert count_repeats(images) == 1


def test_different_images_have_neither():
    images = labeled("abc", [0, 0, 1])
    assert find_conflicts(images) == ()
    assert count_repeats(images) == 0
