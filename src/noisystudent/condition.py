"""One condition under which settings have an effect, and the tests that conditions are made of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from noisystudent.models.settings import NO_BACKBONE, family_members

Values = Mapping[str, Any]  # of all settings, by dotted name

# Commands that read the same settings.
RUN, LEARNING, TRAINING = ("run", "plan"), ("run", "plan", "train"), ("run", "plan", "train", "distill")
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


def names_in(section: str, *names: str) -> tuple[str, ...]:
    """The dotted names of settings of one section."""
    return tuple(f"{section}.{name}" for name in names)


def is_one_of(name: str, *values: object) -> Callable[[Values], bool]:
    """Whether a setting has one of the values."""
    return lambda given: given[name] in values


def is_given(*names: str) -> Callable[[Values], bool]:
    """Whether all of these settings hold something."""
    return lambda given: all(given[name] not in (None, False, "", ()) for name in names)


def is_in_suite(*measures: str) -> Callable[[Values], bool]:
    """Whether the robustness suite has one of the measures."""
    return lambda given: any(measure in given["evaluation.suite"] for measure in measures)


def models_of_students(given: Values) -> int:
    """The number of models that the students of a run name."""
    if given["model.family"]:
        return len(family_members(given["model.family"])) - 1
    return len(given["model.students"])


def has_teacher_term(given: Values) -> bool:
    """Whether a distillation asks a teacher."""
    methods = ("kd", "dkd", "dist", "standardized_kd", "hard")
    return given["distillation.method"] in methods and given["distillation.soft_weight"] > 0


def has_trained_weights(given: Values) -> bool:
    """Whether models start from weights that were trained before."""
    return is_pretrained_here(given) or given["model.backbone"] != NO_BACKBONE


def is_pretrained_here(given: Values) -> bool:
    """Whether a run pretrains the weights that its models start from."""
    return bool(given["pretraining.method"] != "none")
