"""Class shares as a user writes them. Settings read them, and so the help does: there is no numpy in here."""

from __future__ import annotations

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
