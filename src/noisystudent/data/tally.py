"""Counts what a source passes over, by reason, with the first names."""

from __future__ import annotations

from collections.abc import Iterable

from noisystudent.data.source import NAMES_KEPT, PassedOver


class Tally:
    """Things that are passed over, in the order in which they were found."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._names: dict[str, list[str]] = {}

    def add(self, what: str, name: str) -> None:
        """Counts one thing; ``what`` names its kind in the plural with the reason, ``name`` is what users call it."""
        self.add_all(what, 1, (name,))

    def add_all(self, what: str, count: int, names: Iterable[str]) -> None:
        """Counts ``count`` things of one kind, of which ``names`` are the first."""
        if count:
            self._counts[what] = self._counts.get(what, 0) + count
            kept = self._names.setdefault(what, [])
            if len(kept) < NAMES_KEPT:
                kept.extend(names)
                del kept[NAMES_KEPT:]

    def __contains__(self, what: str) -> bool:
        return what in self._counts

    @property
    def passed_over(self) -> tuple[PassedOver, ...]:
        """Each kind with its count and first names."""
        return tuple(PassedOver(what, count, tuple(self._names[what])) for what, count in self._counts.items())


def described(passed_over: Iterable[PassedOver]) -> str:
    """What is passed over, in parentheses after a space, for a message about missing images; empty for nothing."""
    parts = [f"{each.count:,} {each.what}, such as {each.names[0]!r}" for each in passed_over]
    return f" (passed over: {'; '.join(parts)})" if parts else ""
