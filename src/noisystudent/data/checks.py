"""Checks that sources fit together, before training starts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from noisystudent.errors import DataError

_NAMES_SHOWN = 20


def check_same_classes(labeled: Sequence[str], other: Sequence[str] | None, role: str) -> None:
    """Raises ``DataError`` unless the ``role`` source has the labeled source's classes, in the same order."""
    if other is None:
        raise DataError(f"The {role} source has no labels. Give a source with the classes {listed(labeled)}.")
    if tuple(labeled) == tuple(other):
        return
    missing = [name for name in labeled if name not in set(other)]
    surplus = [name for name in other if name not in set(labeled)]
    differences = [f"it lacks {listed(missing)}"] if missing else []
    differences += [f"only it has {listed(surplus)}"] if surplus else []
    raise DataError(
        f"The classes of the {role} source differ from those of the labeled source: "
        f"{' and '.join(differences) or 'the same names in another order'}. Labeled: {listed(labeled)}; "
        f"{role}: {listed(other)}. Give both sources the same classes."
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
