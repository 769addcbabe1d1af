"""What differs between two pieces of work is said in words, not as pairs of hashes."""

import pytest

from noisystudent.artifacts.changes import in_words
from noisystudent.artifacts.folder import differences, fingerprint_of

OLD, NEW = fingerprint_of("old"), fingerprint_of("new")


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ({"labeled": OLD}, {"labeled": NEW}, "labeled: other images in photos/labeled"),
        ({"test": None}, {"test": NEW}, "test: there was none before"),
        ({"test": OLD}, {"test": None}, "test: there is none now"),
        ({"model": {"start": OLD}}, {"model": {"start": NEW}}, "model.start: another model"),
        ({"checkpoints": [OLD, NEW]}, {"checkpoints": [NEW, OLD]}, "checkpoints: another model"),
        ({"predictions": OLD}, {"predictions": NEW}, "predictions: other content"),
        ({"baseline": OLD + NEW}, {"baseline": NEW + OLD}, "baseline: other content"),
        ({"source": f"{OLD}/spread/4"}, {"source": f"{NEW}/spread/4"}, "source: other images"),
        ({"train": {"steps": 300}}, {"train": {"steps": 400}}, "train.steps: 300 -> 400"),
        ({"model": {"name": "a"}}, {"model": {"name": "b"}}, 'model.name: "a" -> "b"'),
    ],
)
def test_hashes_become_words_and_settings_stay(before, after, line):
    assert in_words(differences(before, after), {"labeled": "photos/labeled"}) == [line]


def test_many_numbers_of_one_thing_are_one_line():
    before = {"shares": {str(number): number / 10 for number in range(9)}, "train": {"steps": 3, "clip": 1}}
    after = {"shares": {str(number): number / 11 for number in range(9)}, "train": {"steps": 4, "clip": 2}}
    assert in_words(differences(before, after)) == ["shares: other values", "train.steps: 3 -> 4", "train.clip: 1 -> 2"]
