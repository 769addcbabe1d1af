"""Checks that sources fit together, before training starts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from noisystudent.data.class_names import UNKNOWN, match_classes
from noisystudent.data.source import Source, class_counts
from noisystudent.errors import DataError

_NAMES_SHOWN = 20


def check_known_classes(classes: Sequence[str], other: Source, role: str) -> None:
    """Raises ``DataError`` unless the labeled source's ``classes`` hold every class of the ``role`` source, by name.

    A class without any image does not count, where the source knows how many it has.
    """
    if other.classes is None:
        raise DataError(f"The {role} source has no labels. Give a source with the classes {listed(classes)}.")
    counts = class_counts(other) or dict.fromkeys(other.classes, 1)
    positions = match_classes(other.classes, classes)
    surplus = [
        name for name, position in zip(other.classes, positions, strict=True) if position == UNKNOWN and counts[name]
    ]
    if surplus:
        raise DataError(
            f"The {role} source has classes that the labeled source lacks: {listed(surplus)}. Labeled: "
            f"{listed(classes)}; {role}: {listed(other.classes)}. Rename or remove them, or label images of them: the "
            f"{role} source may have fewer classes, in any order, but no other ones."
        )


def held_out_notes(labels: npt.NDArray[np.int64], classes: Sequence[str]) -> tuple[str, ...]:
    """What it means for the scores that some classes have no held-out image, as at most one sentence."""
    there = np.bincount(labels, minlength=len(classes)) > 0
    if there.all():
        return ()
    missing = [name for name, present in zip(classes, there, strict=True) if not present]
    return (
        f"only {there.sum()} of the {len(classes)} classes have images here, and not {listed(missing)}: accuracies are "
        "over these classes alone, answers are among all, and a class without images has no accuracy",
    )


def check_labels(labels: npt.NDArray[np.int64], classes: Sequence[str], role: str) -> None:
    """Raises ``DataError`` unless there are at least 2 classes and each occurs in ``labels``."""
    if len(classes) < 2:
        raise DataError(f"The {role} source has the classes {listed(classes)}, and at least 2 are needed. Add a class.")
    counts = np.bincount(labels, minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if empty:
        raise DataError(
            f"The {role} source has no readable image of {listed(empty)}. Add some, or remove the empty classes."
        )


def listed(names: Sequence[str]) -> str:
    """The names in quotes, for a message; only the first twenty if there are more."""
    shown = ", ".join(repr(name) for name in names[:_NAMES_SHOWN])
    return f"{shown} and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else shown or "(none)"
