"""A choice of settings that fits a budget, with its cost and its reasons."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NoReturn

from noisystudent.display.wording import duration
from noisystudent.errors import SettingsError

USABLE = 0.8  # of the budget: the rest is for reading the images, the page, and other load on the machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Settings by dotted name, the seconds that the run then takes, and why, in words."""

    values: dict[str, object]
    seconds: float
    reasons: tuple[str, ...]

    def without(self, names: Collection[str]) -> Choice:
        """The same choice without the settings that the user gave."""
        kept = {name: value for name, value in self.values.items() if name not in names}
        return Choice(values=kept, seconds=self.seconds, reasons=self.reasons)


def refuse_budget(budget: float, needed: float, what: str, advice: str) -> NoReturn:
    """Raises ``SettingsError`` for a budget in seconds that the cheapest choice, in seconds, does not fit into."""
    least = whole_minutes(needed / USABLE)
    raise SettingsError(
        f"a budget of {duration(budget)} is too small: {what} takes about {duration(needed)} on this machine, so the "
        f"smallest budget is {least}. Give --budget {least} or more, --budget none, {advice}."
    )


def whole_minutes(seconds: float) -> str:
    """A duration as ``--budget`` takes it, rounded up to 10 seconds below two minutes, to whole minutes above."""
    if seconds <= 120:
        return f"{max(1, -(-int(seconds + 0.999) // 10)) * 10}s"
    return f"{-(-int(seconds + 0.999) // 60)}m"
