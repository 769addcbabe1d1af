"""The command that repeats a run: every setting that the user gave, files included, from any working folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

from noisystudent.conditions import CONDITIONS
from noisystudent.config import ALL_SETTINGS, ARGUMENTS, Command, Resolved, value_at
from noisystudent.data.sources.open import absolute_spec
from noisystudent.models.load import LOCAL
from noisystudent.models.settings import AUTO_BACKBONE, NO_BACKBONE, PUBLISHED
from noisystudent.models.weights_package import PACKAGES
from noisystudent.run_settings import names_own_teachers
from noisystudent.settings_input import is_text

_SOURCES = ("labeled", "unlabeled", "validation", "test")
_PATHS = ("distillation.cache", "evaluation.corruptions_dir", "evaluation.perturbations_dir", "evaluation.baseline")
_MODELS = (
    "distillation.teachers",
    "distillation.students",
    "model.backbone",
    "head.teacher_backbones",
    "rounds.teachers",
)
_NATURAL = "evaluation.natural"


def repeat_command(resolved: Resolved, command: Command) -> tuple[str, ...]:
    """The words of a command that repeats a run in a new folder, beside the working folder's other files.

    A file of settings is not named, since it may change: its values are. Paths are absolute.
    """
    values = {name: value_at(resolved.settings, name) for name in ALL_SETTINGS}
    given = [name for name in ALL_SETTINGS if name in resolved.explicit and _counts(resolved.origins[name])]
    changed = [name for name in given if values[name] != ALL_SETTINGS[name].default]
    idle = {name for condition in CONDITIONS for name in condition.without_effect(command, changed, values)}
    options = [f"--{name}={_text(name, values[name])}" for name in given if name not in {"out", *idle}]
    folder = Path(os.path.abspath(resolved.settings.out)).name
    return ("noisystudent", command, *options, f"--out={folder}-again")


def _counts(origin: str) -> bool:
    """Whether a value is the one that the user gave, and not that of a preset or a family that replaced it."""
    return origin == ARGUMENTS or origin.startswith("file ")


def _text(name: str, value: object) -> str:
    """A value as one types it."""
    if isinstance(value, str) and is_text(ALL_SETTINGS[name]):
        return _absolute(name, value)
    if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
        items = [_absolute(name, str(item)) for item in value]
        if items and not any("," in item or item != item.strip() for item in items):
            return ",".join(items)
        return json.dumps(items, ensure_ascii=False)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _absolute(name: str, text: str) -> str:
    """A text setting with its path, if it holds one, independent of the working folder."""
    if name in _SOURCES:
        return absolute_spec(text) if text else text
    if name in _PATHS:
        return os.path.abspath(text) if text else text
    if name in _MODELS:
        prefix = LOCAL if text.startswith(LOCAL) else ""
        folder = text.removeprefix(prefix)
        is_name = text.startswith(PUBLISHED) or text in (AUTO_BACKBONE, NO_BACKBONE, *PACKAGES)
        is_name |= name == "rounds.teachers" and names_own_teachers(text)
        is_path = not is_name and ("/" in folder or Path(folder).exists())
        return prefix + os.path.abspath(folder) if is_path else text
    if name == _NATURAL:
        kind, _, source = text.partition("=")
        return f"{kind}={absolute_spec(source)}"
    return text
