"""Rows of a streamed shard: only those asked for are decoded, and a row that cannot be shown shows the next one."""

import numpy as np
import pytest

from noisystudent.data import images as decoding
from noisystudent.data.dedup.leakage import Excluded
from noisystudent.data.images import ImageFormat
from noisystudent.data.source import Record
from noisystudent.data.unlabeled import StreamedUnlabeled

FORMAT = ImageFormat(8, 1)
ROWS = 20


class OneShard:
    """Twenty gray images whose level is their number; some cannot be read."""

    name, classes, fingerprint, shard_sizes = "one", None, "f", (ROWS,)

    def __init__(self, unreadable=()):
        self._unreadable = frozenset(unreadable)

    def read(self, shard):
        for number in range(ROWS):
            problem = "torn" if number in self._unreadable else ""
            yield Record(f"{number:02}", np.full((8, 8), number, np.uint8), -1, problem)


@pytest.fixture
def decoded(monkeypatch):
    """The keys of the images that were decoded."""
    keys, original = [], decoding._decode_record

    def note(record, format):
        keys.append(record.key)
        return original(record, format)

    monkeypatch.setattr(decoding, "_decode_record", note)
    return keys


def levels(rows, *, left_out=(), unreadable=()):
    excluded = [Excluded(f"{number:02}", "held-out", "identical") for number in left_out]
    streamed = StreamedUnlabeled(OneShard(unreadable), FORMAT, excluded)
    images, shown = streamed.read_rows(0, np.array(rows))
    return [int(images.pixels[index, 0, 0, 0]) for index in shown]


def test_only_the_rows_that_are_asked_for_are_decoded(decoded):
    assert levels([3, 7, 19]) == [3, 7, 19]
    assert sorted(decoded) == ["03", "07", "19"]


def test_a_row_that_is_left_out_shows_the_next(decoded):
    assert levels([3, 4, 5, 9], left_out=[3, 4, 9]) == [5, 5, 5, 10]
    assert sorted(decoded) == ["05", "10"]


def test_after_the_last_row_comes_the_first():
    assert levels([18, 19, 2], left_out=[19]) == [18, 0, 2]
    assert levels([19], unreadable=[19], left_out=[0]) == [1]


def test_what_a_row_shows_does_not_hang_on_the_rows_beside_it():
    broken = {"left_out": [0, 5, 6, 19], "unreadable": [1, 7, 12, 18]}
    every = levels(list(range(ROWS)), **broken)
    assert every == [2, 2, 2, 3, 4, 8, 8, 8, 8, 9, 10, 11, 13, 13, 14, 15, 16, 17, 2, 2]
    for parts in (2, 3):
        for part in range(parts):
            rows = list(range(part, ROWS, parts))
            assert levels(rows, **broken) == [every[row] for row in rows]


def test_a_shard_without_any_image_to_show_has_none():
    streamed = StreamedUnlabeled(OneShard(unreadable=range(ROWS)), FORMAT, [])
    images, shown = streamed.read_rows(0, np.array([1, 2]))
    assert len(images) == len(shown) == 0
    assert len(images.failures) == ROWS
