"""Whether sources fit together, checked before anything trains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from noisystudent.errors import DataError

_NAMES_SHOWN = 20


def check_same_classes(labeled: Sequence[str], other: Sequence[str] | None, role: str) -> None:
    """Raises ``DataError`` unless the ``role`` source has the labeled one's classes, in the same order."""
    if other is None:
        raise DataError(f"The {role} source has no labels. Give a source with the classes {listed(labeled)}.")
    if tuple(labeled) == tuple(other):
        return
    missing = [name for name in labeled if name not in set(other)]
    surplus = [name for name in other if name not in set(labeled)]
    differences = [f"it lacks {listed(missing)}"] if missing else []
    differences += [f"only it has {listed(surplus)}"] if surplus else []
    raise DataError(
        f"The {role} source has other classes than the labeled one: "
        f"{' and '.join(differences) or 'the same names in another order'}. Labeled: {listed(labeled)}; "
        f"{role}: {listed(other)}. Give both the same classes."
    )


def check_labels(labels: npt.NDArray[np.int64], classes: Sequence[str], role: str) -> None:
    """Raises ``DataError`` unless there are at least 2 classes and each is in ``labels``."""
    if len(classes) < 2:
        raise DataError(f"The {role} source has the classes {listed(classes)}, and at least 2 are needed. Add a class.")
    counts = np.bincount(labels, minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if empty:
        raise DataError(f"The {role} source has no readable image of {listed(empty)}. Add some, or remove the class.")


def listed(names: Sequence[str]) -> str:
    """Names in quotes, the first twenty of many, for a message."""
    shown = ", ".join(repr(name) for name in names[:_NAMES_SHOWN])
    return f"{shown} and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else shown or "(none)"
