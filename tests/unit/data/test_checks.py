"""Held-out sources fit the labeled one: no class of their own, and fewer classes have a note."""

import numpy as np
import pytest

from data_images import noise_image
from noisystudent.data.checks import check_known_classes, held_out_notes
from noisystudent.data.sources.arrays import ArraySource
from noisystudent.errors import DataError


def source(classes: tuple[str, ...] | None, labels: list[int]) -> ArraySource:
    images = np.stack([noise_image(8, 8, seed=row) for row in range(len(labels))])
    keys = [str(row) for row in range(len(labels))]
    return ArraySource(
        "held out", images, keys=keys, labels=np.array(labels), classes=classes, labeled=classes is not None
    )


def test_classes_may_be_fewer_and_in_another_order():
    check_known_classes(("a", "b", "c"), source(("c", "a"), [0, 1]), "test")
    check_known_classes(("a", "b", "c"), source(("c", "b", "a"), [0, 1, 2]), "validation")


def test_classes_of_its_own_are_refused_by_name_unless_they_are_empty():
    with pytest.raises(DataError) as caught:
        check_known_classes(("a", "b"), source(("a", "d"), [0, 1]), "test")
    for part in ("test source has classes that the labeled source lacks: 'd'", "Labeled: 'a', 'b'", "test: 'a', 'd'"):
        assert part in str(caught.value)
    check_known_classes(("a", "b"), source(("a", "d"), [0, 0]), "test")
    with pytest.raises(DataError, match="The validation source has no labels"):
        check_known_classes(("a", "b"), source(None, [0, 1]), "validation")
    many = tuple(str(number) for number in range(100))
    with pytest.raises(DataError, match="and 80 more"):
        check_known_classes(("a",), source(many, list(range(100))), "test")


def test_a_note_says_what_fewer_classes_do_to_the_scores():
    assert held_out_notes(np.array([0, 1, 2]), ("a", "b", "c")) == ()
    (note,) = held_out_notes(np.array([0, 0, 2]), ("a", "b", "c"))
    assert note.startswith("only 2 of the 3 classes have images here, and not 'b': accuracies are over these")
