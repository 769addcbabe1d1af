"""All settings in one place: recipe < file < what the user gives, each value with its origin.

Every section lives beside the code that reads it; this module composes them, says which command uses which setting,
and turns every mistake into one clear line.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import ValidationError

from noisystudent.conditions import CONDITIONS, for_network
from noisystudent.errors import SettingsError, nearest_name
from noisystudent.layers import Layer, merge
from noisystudent.lengths import check_lengths
from noisystudent.models.settings import AUTO_BACKBONE
from noisystudent.run_settings import Recipe, RunSettings
from noisystudent.runtime.settings import RuntimeSettings
from noisystudent.settings import Settings
from noisystudent.settings_input import (
    SettingsInput,
    explain,
    flatten,
    join_names,
    named_values,
    nest,
    read_yaml,
    setting_fields,
    shown,
)
from noisystudent.yaml_text import parse_yaml

Command = Literal[
    "run",
    "plan",
    "check",
    "study",
    "train",
    "pretrain",
    "distill",
    "fix",
    "label",
    "select",
    "evaluate",
    "robustness",
    "compare",
    "predict",
    "show-noise",
]
"""Commands that take settings, and ``robustness``: in Python a function, on the command line ``evaluate --suite``."""

Section = TypeVar("Section", bound=Settings)


ALL_SETTINGS = setting_fields(RunSettings)
ARGUMENTS = "arguments"  # the origin of values that the user gave, on the command line or in Python


def _names(*given: str, without: Collection[str] = ()) -> frozenset[str]:
    """Settings by dotted name or by a prefix such as ``train.``, except those ``without``."""
    assert all(any(name.startswith(part) for name in ALL_SETTINGS) for part in (*given, *without))
    return frozenset(
        name for name in ALL_SETTINGS if name.startswith(given) and not (without and name.startswith(tuple(without)))
    )


_SOURCES = ("labeled", "unlabeled", "validation", "test", "out", "recipe", "seed")
_ONLY_DISTILL = tuple(f"distillation.{name}" for name in ("teachers", "students", "teacher_steps", "weights", "mean"))
_PREDICTING = (
    "runtime.device",
    "runtime.precision",
    "runtime.threads",
    "runtime.engine",
    "runtime.label_batch_size",
    "data.max_corrupt_fraction",
)
# Noise of training alone: on batches, and inside the network.
_NOT_ON_IMAGES = (
    "noise.mixup",
    "noise.cutmix",
    "noise.mixing",
    "noise.dropout",
    "noise.stochastic_depth",
    "noise.unlabeled.",
)
_RUN = _names(
    *_SOURCES, "budget", "rounds.", "data.", "model.", "noise.", "train.", "head.", "selection.", "objective.",
    "distillation.", "online.", "pretraining.", "fix.", "evaluation.", "runtime.",
    without=(*_ONLY_DISTILL, "pretraining.kept_layers"),
)  # fmt: skip
# A distillation names its models itself, matches its teachers instead of stored pseudo labels, and does not stream.
_DISTILL = _names(
    *_SOURCES, "rounds.controls", "data.", "model.pretrained", "model.backbone", "model.tune",
    "model.batch_norm_momentum", "noise.",
    "train.",
    "objective.label_smoothing", "distillation.", "evaluation.", "runtime.",
    without=("data.window", "noise.teacher", "train.warm_start", "runtime.engine"),
)  # fmt: skip
USED: Mapping[Command, frozenset[str]] = {
    "run": _RUN,
    "plan": _RUN,
    "check": _names(
        "labeled", "unlabeled", "validation", "test", "out", "seed", "data.", "model.backbone", "runtime.device",
        "runtime.threads",
    ),
    "study": _RUN - {"seed", "budget"},  # it has seeds of its own, and every cell needs the same work
    "train": _names(  # of one model: nothing is labeled, and there is no round before
        *_SOURCES, "data.", "model.", "noise.", "train.", "objective.", "online.", "runtime.",
        without=("noise.teacher", "train.warm_start", "runtime.engine", "data.unlabeled_share"),
    ),
    "pretrain": _names(
        "labeled", "unlabeled", "validation", "test", "out", "seed", "data.", "model.teacher", "noise.flip",
        "train.save_every", "pretraining.", "runtime.", without=("runtime.engine",),
    ),
    "distill": _DISTILL,
    "fix": _names(
        "labeled", "validation", "out", "seed", "fix.", "train.save_every", "data.near_duplicates",
        "data.memory_limit_gb", *_PREDICTING, without=("runtime.engine",),
    ),
    "label": _names(*_PREDICTING, "noise.", without=(*_NOT_ON_IMAGES, "noise.strengths")),  # see NOISE_CONDITIONS
    "select": _names("selection.", without=("selection.once", "selection.align", "selection.neighbors")),
    "evaluate": _names(*_PREDICTING),
    "robustness": _names(*_PREDICTING, "evaluation."),
    "compare": _names(*_PREDICTING, "evaluation."),
    "predict": _names(*_PREDICTING),
    "show-noise": _names(
        "noise.", "data.size", "data.resize", "data.channels", "data.max_corrupt_fraction", "data.memory_limit_gb",
        without=(*_NOT_ON_IMAGES, "noise.teacher"),
    ),
}  # fmt: skip
"""The settings that each command reads. It refuses all others, and its ``--help`` offers exactly these."""

_MODELS_OF_A_RUN = "model.teacher and model.students name the models"
_HINTS: Mapping[tuple[Command, str], str] = {
    ("run", "distillation"): _MODELS_OF_A_RUN,
    ("plan", "distillation"): _MODELS_OF_A_RUN,
    ("distill", "model"): "--teacher and --student name the models",
    ("study", "seed"): "the seeds are the option --seeds",
    ("study", "budget"): "all cells do the same work, which train.steps and rounds.count say",
    ("label", "seed"): "the seed is the option --seed",
    ("select", "seed"): "the seed is the option --seed",
}
"""What to use instead of a setting that a command does not use, by section."""


@dataclass(frozen=True)
class Resolved:
    """Checked settings, where the value of every dotted name came from, and the names that the user gave.

    ``over_family``: the rates of noise that take precedence over those of ``model.family``; ``notes``: lines for the
    user about what replaced other settings.
    """

    settings: RunSettings
    origins: dict[str, str]
    explicit: frozenset[str] = frozenset()
    over_family: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def decided(self) -> frozenset[str]:
        """The settings that the user gave, without those left to ``auto``."""
        given = self.explicit & ALL_SETTINGS.keys()
        return frozenset(name for name in given if value_at(self.settings, name) != "auto")


def default_recipe(command: Command) -> Recipe:
    """The recipe of a command where the user names none."""
    return "distillation" if command == "distill" else "curriculum"


def resolve(given: SettingsInput | None, file: Path | None = None, *, command: Command = "run") -> Resolved:
    """Settings from recipe, file and what the user gave, checked as a whole.

    Args:
        given: Settings in any form of ``SettingsInput``; values may be YAML text, as on the command line.
        file: A YAML file of settings; ``given`` takes precedence over it.
        command: The command that uses the settings; it refuses all others.

    Raises:
        SettingsError: A name is unknown, the command does not use a setting, or a value has the wrong type or is out of
            range.
    """
    return _resolve(given, file, command, {})


def section_settings(kind: type[Section], name: str, settings: SettingsInput | None, *, command: Command) -> Section:
    """One section of the settings for a command, checked as ``resolve`` does.

    Args:
        kind: The class of the section.
        name: The name of the section, such as ``data``.
        settings: What the user gave.
        command: The command that uses the settings; it refuses all others.
    """
    section = getattr(_resolve(settings, None, command, {"out": "unused"}).settings, name)
    assert isinstance(section, kind)
    return section


def runtime_to_predict(settings: SettingsInput | None, *, command: Command) -> RuntimeSettings:
    """The runtime settings of a command that only predicts: its results must not depend on the machine's speed."""
    runtime = section_settings(RuntimeSettings, "runtime", settings, command=command)
    require_precision(runtime)
    return runtime


def require_precision(runtime: RuntimeSettings) -> None:
    """Raises ``SettingsError`` where the precision is still to be chosen by the machine's speed."""
    if runtime.precision == "auto":
        raise SettingsError(
            "runtime.precision auto is for run, train and distill, which time their own model; a checkpoint's "
            "predictions must be the same on every machine, so give float32, bfloat16 or float16 here."
        )


def given_values(settings: SettingsInput | None) -> dict[str, Any]:
    """The settings that the user gave, by dotted name; see ``named_values``."""
    return named_values(settings, RunSettings, ARGUMENTS)


def read_settings(file: Path) -> dict[str, Any]:
    """The settings in a YAML file, by dotted name; raises ``SettingsError`` if it cannot be read or names others."""
    return named_values(read_yaml(file), RunSettings, f"file {file.name}")


def _resolve(given: SettingsInput | None, file: Path | None, command: Command, required: Mapping[str, Any]) -> Resolved:
    file_origin = f"file {file.name}" if file else "file"
    from_file = read_settings(file) if file else {}
    from_user = given_values(given)
    recipe = from_user.get("recipe", from_file.get("recipe", default_recipe(command)))
    _require_recipe_for(command, recipe)
    given_in = {**dict.fromkeys(from_file, file_origin), **dict.fromkeys(from_user, ARGUMENTS)}
    require_used(command, {name: given_in[name] for name in ALL_SETTINGS if name in given_in})
    layers = [
        Layer(f"recipe {recipe}", read_recipe(recipe)),
        _command_layer(command, recipe, given_in),
        _online_layer(from_user.get("online.method", from_file.get("online.method", "none"))),
        Layer(file_origin, from_file),
        Layer(ARGUMENTS, from_user),
    ]
    merged = merge(layers)
    origins = {**dict.fromkeys(ALL_SETTINGS, "default"), **merged.origins}
    try:
        settings = RunSettings(**nest({"recipe": recipe, **required, **merged.values}))
    except ValidationError as error:
        raise SettingsError(explain(error, origins, RunSettings)) from None
    explicit = frozenset(given_in)
    check_lengths(command, explicit, {name: value_at(settings, name) for name in ALL_SETTINGS})
    _require_effect(command, settings, from_user)
    if from_file:
        _require_effect(command, settings, from_file.keys() - from_user.keys(), _below(layers[:-1], recipe))
    return Resolved(settings, origins, explicit, merged.over_family, tuple(merged.notes))


def _require_recipe_for(command: Command, recipe: object) -> None:
    """Raises ``SettingsError`` for a chain of stages in a command that trains models one by one."""
    if recipe == "simclrv2" and command in ("train", "distill"):
        raise SettingsError(
            f"recipe simclrv2 pretrains, fine-tunes and distills in one run, and {command} does not pretrain; use run, "
            "or pretrain first and then start from its encoder (--start)."
        )


def _command_layer(command: Command, recipe: object, given: Collection[str]) -> Layer:
    """What a command sets where the user leaves it open.

    A run starts from a backbone where models and their training are open, all else from scratch; ``fix`` fixes.
    """
    if command == "fix":
        return Layer("default of fix", {"fix.size": "auto"})
    is_open = not for_network(given) and not any(name.startswith("model.") for name in given)
    starts = command in ("run", "plan") and recipe == default_recipe(command) and is_open
    return Layer(f"default of {command}", {"model.backbone": AUTO_BACKBONE} if starts else {})


def _online_layer(method: object) -> Layer:
    """An online student learns unsmoothed labels, as published: smoothed ones would keep it below its threshold."""
    return Layer(f"online.method {method}", {} if method == "none" else {"objective.label_smoothing": 0.0})


def require_used(command: Command, origins: Mapping[str, str], *, shown_as: str = "") -> None:
    """Raises ``SettingsError`` if a command does not use some of the settings that the user gave.

    Args:
        command: The command.
        origins: The names of the settings that the user gave, and where each came from.
        shown_as: The name of the command in the message, if the user knows it by another.
    """
    unused = [name for name in origins if name not in USED[command]]
    if not unused:
        return
    by_users: dict[str, list[str]] = {}
    for name in unused:
        users = [_shown(user) for user in USED if name in USED[user]]
        form = "use" if len(users) > 1 else "uses"
        shown = name if origins[name] == ARGUMENTS else f"{name} ({origins[name]})"
        by_users.setdefault(f"{join_names(users)} {form}", []).append(shown)
    texts = [f"{join_names(names)}, which {users}" for users, names in by_users.items()]
    hints = dict.fromkeys(_HINTS.get((command, name.split(".")[0]), "") for name in unused)
    advice = "".join(f" In {command}, {hint}." for hint in hints if hint)
    them = "it" if len(unused) == 1 else "them"
    raise SettingsError(f"{shown_as or _shown(command)} does not use {'; or '.join(texts)}. Leave {them} out.{advice}")


def _shown(command: Command) -> str:
    return "robustness (evaluate --suite)" if command == "robustness" else command


def _below(layers: Sequence[Layer], recipe: object) -> RunSettings | None:
    """The settings of the lower layers alone; None where they are incomplete or wrong without the higher ones."""
    try:
        return RunSettings(**nest({"out": "unused", "recipe": recipe, **merge(layers).values}))
    except ValidationError:
        return None


def _require_effect(
    command: Command, settings: RunSettings, given: Collection[str], below: RunSettings | None = None
) -> None:
    """Raises ``SettingsError`` for settings that the user gave and that have no effect beside the others.

    Settings of a file may lose their effect by what is given above the file: ``below`` are those without that.
    """
    values = {name: value_at(settings, name) for name in ALL_SETTINGS}
    values_below = {name: value_at(below, name) for name in ALL_SETTINGS} if below else values
    changed = [name for name in given if values[name] != ALL_SETTINGS[name].default]
    for condition in CONDITIONS:
        names = condition.without_effect(command, changed, values)
        if names and condition.without_effect(command, changed, values_below):
            raise SettingsError(
                f"{_shown(command)} uses {join_names(names)} only with {condition.needs}. Give that as well, or leave "
                f"{'it' if len(names) == 1 else 'them'} out."
            )


def read_recipe(name: object) -> dict[str, Any]:
    """The settings of a shipped recipe by dotted name; raises ``SettingsError`` for an unknown one."""
    recipes: tuple[str, ...] = get_args(Recipe)
    if not isinstance(name, str) or name not in recipes:
        hint = nearest_name(name, recipes) if isinstance(name, str) else ""
        raise SettingsError(f"unknown recipe {shown(name)}; there are {', '.join(recipes)}.{hint}")
    text = resources.files("noisystudent").joinpath("recipes", f"{name}.yaml").read_text()
    return flatten(parse_yaml(text) or {})


def default_values(command: Command) -> dict[str, Any]:
    """The value of every setting by dotted name where the user gives none, under the command's own recipe."""
    recipe = default_recipe(command)
    merged = merge([Layer(f"recipe {recipe}", read_recipe(recipe)), _command_layer(command, recipe, ())])
    settings = RunSettings(**nest({"out": "", "recipe": recipe, **merged.values}))
    return {name: value_at(settings, name) for name in ALL_SETTINGS}


def value_at(settings: RunSettings, name: str) -> object:
    """The value of the setting with a dotted name."""
    value: object = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value
