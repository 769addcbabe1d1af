"""Finds the classes of one source among those of another, by name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from noisystudent.data.sources.labels import in_one_form

Ints = npt.NDArray[np.int64]

UNKNOWN = -1
_NUMBER = re.compile(r"[0-9]{1,18}")


def match_classes(classes: Sequence[str], known: Sequence[str]) -> Ints:
    """The position of each class in ``known``, int64 [n]; -1 for a class that is not there.

    Two names are the same if their texts are, or their texts in Unicode's composed form: macOS writes an accent as a
    code point of its own. If the names of both sides are whole numbers, their values count, so that ``07`` is ``7``.

    Args:
        classes: the class names to find, in any order.
        known: the class names to search.
    """
    found = np.full(len(classes), UNKNOWN, np.int64)
    for form in _forms(classes, known):
        position_of: dict[str, int] = {}
        for position, name in enumerate(known):
            position_of.setdefault(form(name), position)
        for row in np.flatnonzero(found == UNKNOWN).tolist():
            found[row] = position_of.get(form(classes[row]), UNKNOWN)
    return found


def spellings(classes: Sequence[str]) -> tuple[str, ...]:
    """The class names in all Unicode forms that ``match_classes`` takes for the same."""
    forms = (unicodedata.normalize(form, name) for name in classes for form in ("NFC", "NFD"))
    return tuple(dict.fromkeys([*classes, *forms]))


def _forms(classes: Sequence[str], known: Sequence[str]) -> Iterator[Callable[[str], str]]:
    """The forms in which names are compared, the strictest first."""
    yield str
    yield in_one_form
    if all(_NUMBER.fullmatch(name) for name in (*classes, *known)) and len({int(name) for name in known}) == len(known):
        yield _value


def _value(name: str) -> str:
    return str(int(name))
