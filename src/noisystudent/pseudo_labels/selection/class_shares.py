"""The share of each class that a selection aims at, as the user gives it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from noisystudent.errors import SettingsError
from noisystudent.pseudo_labels.selection.share_text import parse_shares

Shares = npt.NDArray[np.float64]


def named_shares(prior: str, classes: Sequence[str]) -> Shares | None:
    """The shares [K] that ``selection.prior`` names: equal ones or given ones; None for auto, the rule's own aim.

    Raises what ``given_shares`` raises.
    """
    if prior == "auto":
        return None
    return np.full(len(classes), 1 / len(classes)) if prior == "uniform" else given_shares(prior, classes)


def given_shares(text: str, classes: Sequence[str]) -> Shares:
    """The shares of ``classes`` that a text names, float64 [K], which sum to 1.

    Raises:
        SettingsError: a class has no share, or a name is no class.
    """
    shares = parse_shares(text)
    missing = [name for name in classes if name not in shares]
    unknown = [name for name in shares if name not in classes]
    if missing or unknown:
        wrong = [f"misses the class {name!r}" for name in missing[:1]]
        wrong += [f"names {name!r}, which is no class" for name in unknown[:1]]
        raise SettingsError(
            f"selection.prior {text!r} {' and '.join(wrong)}; give every class one share: {', '.join(classes)}."
        )
    values = np.array([shares[name] for name in classes], np.float64)
    return np.asarray(values / values.sum(), np.float64)
