"""Which unlabeled images are also held out: the same result for any division into shards, and through JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image

import scenes
from data_images import ListSource, encoded, noise_image, png
from noisystudent.data.dedup.leakage import (
    DuplicateIndex,
    Excluded,
    NearDuplicates,
    ShardMatches,
    match_shard,
    merge_matches,
    without,
)
from noisystudent.data.dedup.perceptual import near_duplicates
from noisystudent.data.images import ImageFormat, Images, decode_shard
from scenes import halved, saved_again, scene


def decoded(*images: bytes | np.ndarray) -> Images:
    return decode_shard(ListSource(list(images)), 0, ImageFormat(16, 3))


def as_images(images: list[np.ndarray]) -> Images:
    """Images whose digests depend on their pixels."""
    decoded = scenes.as_images(images)
    return replace(decoded, digests=tuple(np.asarray(image).tobytes().hex() for image in images))


def test_identical_images_are_paired_across_formats():
    shared, other = noise_image(16, 16), noise_image(16, 16, seed=1)
    as_bmp = encoded(Image.fromarray(shared), "BMP")
    unlabeled = decoded(png(other), png(shared), as_bmp)
    held_out = decoded(noise_image(16, 16, seed=2), shared, shared)
    assert DuplicateIndex(held_out, "none").identical(unlabeled) == {"0/1": "0/1", "0/2": "0/1"}
    assert DuplicateIndex(decoded(other), "none").identical(held_out) == {}


@pytest.mark.parametrize("shard", [3, 7, 100])
def test_merged_matches_of_shards_stored_as_json_equal_those_of_one_comparison(shard):
    random = np.random.default_rng(1)
    validation = [scene(random, 24, 32) for _ in range(12)]
    test = [scene(random, 24, 32) for _ in range(5)]
    other = scene(random, 24, 32).astype(float)
    test += [(0.94 * other + 0.06 * scene(random, 24, 32)).astype(np.uint8) for _ in range(6)]
    unlabeled = [scene(random, 24, 32) for _ in range(20)]
    unlabeled += [saved_again(validation[row], 60) for row in (3, 5, 5)] + [halved(test[2]), validation[8], test[0]]
    for share in (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4):  # a crowd
        unlabeled.append(((1 - share) * validation[9].astype(float) + share * scene(random, 24, 32)).astype(np.uint8))
    unlabeled.append((0.94 * other + 0.06 * scene(random, 24, 32)).astype(np.uint8))
    whole = as_images([unlabeled[row] for row in random.permutation(len(unlabeled))])
    held_out = [as_images(validation), as_images(test)]
    duplicate_indexes = [DuplicateIndex(source, 10) for source in held_out]

    shards = [np.arange(first, min(first + shard, len(whole))) for first in range(0, len(whole), shard)]
    stored = [json.loads(json.dumps(asdict(match_shard(whole.take(rows), duplicate_indexes)))) for rows in shards]
    matches = [
        ShardMatches(
            [tuple(pair) for pair in shard_matches["identical"]],
            [NearDuplicates(**near) for near in shard_matches["alike"]],
        )
        for shard_matches in stored
    ]
    left_out = merge_matches(matches, duplicate_indexes)

    identical = duplicate_indexes[0].identical(whole) | duplicate_indexes[1].identical(whole)
    rest = without(whole, identical)
    expected = {}
    for source in held_out:
        rows, partners = near_duplicates(rest, source, 10)
        expected |= {rest.keys[row]: source.keys[partner] for row, partner in zip(rows, partners, strict=True)}
    assert {image.key: image.same_as for image in left_out if image.found == "identical"} == identical
    assert {image.key: image.same_as for image in left_out if image.found == "near-duplicate"} == expected
    assert len(identical) == 2
    assert len(expected) >= 4


def test_without_near_duplicates_only_identical_images_are_found():
    image = scene(np.random.default_rng(2), 24, 24)
    index = DuplicateIndex(as_images([image]), "none")
    unlabeled = as_images([saved_again(image, 70), image])
    assert merge_matches([match_shard(unlabeled, [index])], [index]) == [Excluded(unlabeled.keys[1], "0", "identical")]
