"""The share of each class that a selection aims at, as the user gives it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from noisystudent.errors import SettingsError

Shares = npt.NDArray[np.float64]

_TOLERANCE = 0.001  # by which given shares may miss the sum of 1


def parse_shares(text: str) -> dict[str, float]:
    """Shares by class from text such as ``cat=0.7,dog=0.3``; raises ``ValueError`` unless they are shares."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = part.rpartition("=")
        name = name.strip()
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if not equals or not 0 <= share <= 1:
            raise ValueError(
                f"{part.strip()!r} is no share of a class; give uniform, labels, estimated, or a share from 0 to 1 for "
                "every class, such as cat=0.7,dog=0.3"
            )
        if name in shares:
            raise ValueError(f"the class {name!r} has two shares; give every class one")
        shares[name] = share
    if abs(sum(shares.values()) - 1) > _TOLERANCE:
        raise ValueError(f"the shares sum to {sum(shares.values()):g}; give shares that sum to 1")
    return shares


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
