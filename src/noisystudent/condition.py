"""A condition under which settings have an effect, and short ways to write one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

Values = Mapping[str, Any]  # of all settings, by dotted name

# Commands that read the same settings.
RUN, TRAINING = ("run", "plan"), ("run", "plan", "train", "distill")
NOISING = (*TRAINING, "label", "show-noise")


@dataclass(frozen=True)
class Condition:
    """Settings that some commands read only while others say so.

    Attributes:
        commands: The commands.
        names: Dotted names, or the prefix of a section such as ``evaluation.``.
        needs: What they need, as the end of "uses them only with".
        is_met: Whether the settings of a run, by dotted name, give that.
        switches: Settings of the section that are always read.
    """

    commands: tuple[str, ...]
    names: tuple[str, ...]
    needs: str
    is_met: Callable[[Values], bool]
    switches: tuple[str, ...] = ()

    def without_effect(self, command: str, given: Collection[str], values: Values) -> list[str]:
        """The names among ``given`` that have no effect in a command under ``values``."""
        if command not in self.commands or self.is_met(values):
            return []
        sections = tuple(name for name in self.names if name.endswith("."))
        return sorted(
            name for name in given if (name in self.names or name.startswith(sections)) and name not in self.switches
        )


def names(section: str, *given: str) -> tuple[str, ...]:
    """The dotted names of settings of one section."""
    return tuple(f"{section}.{name}" for name in given)


def is_one_of(name: str, *values: object) -> Callable[[Values], bool]:
    """Whether a setting has one of some values."""
    return lambda given: given[name] in values


def are_given(*names: str) -> Callable[[Values], bool]:
    """Whether all of some settings have a value."""
    return lambda given: all(given[name] not in (None, False, "", ()) for name in names)
