"""Classes are found by name, whatever their order, their Unicode form, and the form of their numbers."""

import unicodedata

import pytest

from noisystudent.data.class_names import match_classes, spellings

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Bl\u00fcte") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("classes", "known", "positions"),
    [
        (("b", "a"), ("a", "b", "c"), [1, 0]),
        (("a", "x"), ("a", "b"), [0, -1]),
        ((DECOMPOSED, "Gras"), ("Gras", COMPOSED), [1, 0]),
        ((COMPOSED,), (DECOMPOSED,), [0]),
        ((COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED), [1, 0]),  # the same text comes first
        (("0", "1", "10", "2"), ("0", "1", "2", "10"), [0, 1, 3, 2]),
        (("00", "01", "10"), ("0", "1", "10"), [0, 1, 2]),
        (("7", "x"), ("07", "x"), [-1, 1]),  # names that are not all numbers are texts
        (("7",), ("07", "007"), [-1]),  # two of the same value
        ((), ("a",), []),
    ],
)
def test_the_position_of_each_class(classes, known, positions):
    assert match_classes(classes, known).tolist() == positions


def test_every_spelling_is_one_that_matches():
    names = spellings((COMPOSED, "Gras"))
    assert set(names) == {COMPOSED, DECOMPOSED, "Gras"}
    assert (match_classes(names, (COMPOSED, "Gras")) >= 0).all()
