"""All settings of a run in one place: recipe < file < command line, each value with its origin.

The rooms own their settings; this module composes them, reads YAML, applies dotted names such as
``noise.strength=0.5``, and turns every mistake into one clear line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo

from noisystudent.data.settings import DataSettings
from noisystudent.errors import SettingsError, nearest_name
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.losses.settings import DistillationSettings, ObjectiveSettings
from noisystudent.models.settings import ModelSettings
from noisystudent.noise.settings import NoiseSettings
from noisystudent.pseudo_labels.selection.settings import SelectionSettings
from noisystudent.runtime.settings import RuntimeSettings
from noisystudent.settings import Settings
from noisystudent.training.settings import TrainSettings

Recipe = Literal[
    "curriculum",
    "paper",
    "distillation",
    "compression",
    "reversed",
    "defective",
    "self-taught",
    "virtual-teacher",
    "born-again",
    "assistants",
    "ensemble",
]


Section = TypeVar("Section")


class RoundSettings(Settings):
    """How often the student becomes the teacher, and when it may not."""

    count: Annotated[int, Field(ge=1, le=100)] = Field(5, description="rounds of label, select, train, evaluate")
    rollback_p: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05,
        description="a round is rolled back when validation shows it to be worse at this level (McNemar's exact test)",
    )
    control: bool = Field(True, description="train the labels-only control, without which there is no verdict")


class RunSettings(Settings):
    """Everything that decides a run."""

    labeled: str = Field(
        "",
        description="labeled images: a folder of class folders, an .npz file, or digits; only distill can do without",
    )
    unlabeled: str | None = Field(None, description="unlabeled images: a folder, an .npz file, or digits:unlabeled")
    validation: str | None = Field(
        None, description="labeled images that choose; carved out of --labeled when not given"
    )
    test: str | None = Field(None, description="labeled images that only report")
    out: str = Field(description="the run's folder; run the same command again to resume")
    recipe: Recipe = Field(
        "curriculum",
        description="settings to begin with. For run: curriculum (default) or paper (Xie et al. 2020). For distill: "
        "distillation (default), compression, reversed, defective, self-taught, virtual-teacher, born-again, "
        "assistants, ensemble (docs/distillation.md)",
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="seed of every random draw")
    rounds: RoundSettings = RoundSettings()
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    noise: NoiseSettings = NoiseSettings()
    train: TrainSettings = TrainSettings()
    selection: SelectionSettings = SelectionSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    distillation: DistillationSettings = DistillationSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    runtime: RuntimeSettings = RuntimeSettings()


@dataclass(frozen=True)
class Resolved:
    """Checked settings and, for every dotted name, where its value came from."""

    settings: RunSettings
    origins: dict[str, str]


def setting_fields(model: type[BaseModel] = RunSettings, prefix: str = "") -> dict[str, FieldInfo]:
    """Every setting by its dotted name, in order of declaration; a list of rooms counts as one room."""
    found: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        kind = get_args(field.annotation)[0] if get_origin(field.annotation) is tuple else field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found.update(setting_fields(kind, f"{prefix}{name}."))
        else:
            found[prefix + name] = field
    return found


def resolve(command_line: Mapping[str, Any], file: Path | None = None, *, recipe: Recipe = "curriculum") -> Resolved:
    """Settings from recipe, file and command line (dotted names to values or YAML text), checked as a whole.

    ``recipe`` is the one that is taken where neither file nor command line names one. Raises ``SettingsError`` for
    unknown names (naming the nearest), wrong types and values out of range.
    """
    from_file = flatten(read_yaml(file)) if file else {}
    recipe = command_line.get("recipe") or from_file.get("recipe") or recipe
    known = setting_fields()
    values: dict[str, Any] = {"recipe": recipe}
    origins = dict.fromkeys(known, "default")
    for origin, layer in (
        (f"recipe {recipe}", read_recipe(str(recipe))),
        (f"file {file.name}" if file else "file", from_file),
        ("command line", command_line),
    ):
        for name, value in layer.items():
            if name not in known:
                raise SettingsError(f"unknown setting {name!r} ({origin}).{nearest_name(name, known)}")
            values[name] = _parse(value, known[name]) if origin == "command line" else value
            origins[name] = origin
    try:
        return Resolved(RunSettings(**nest(values)), origins)
    except ValidationError as error:
        raise SettingsError(explain(error, origins)) from None


def section_settings(kind: type[Section], name: str, settings: Mapping[str, Any] | None) -> Section:
    """One room's settings, checked as a whole run's are, from dotted names."""
    resolved = resolve({"out": "unused", **(settings or {})})
    room: Section = getattr(resolved.settings, name)
    assert isinstance(room, kind)
    return room


def runtime_to_predict(settings: Mapping[str, Any] | None) -> RuntimeSettings:
    """The runtime's settings for a verb that only predicts: what it says must not hang on how quick its machine is."""
    runtime = section_settings(RuntimeSettings, "runtime", settings)
    if runtime.precision == "auto":
        raise SettingsError(
            "runtime.precision auto is for run and train, which time their own model; a checkpoint's predictions "
            "must be the same on every machine, so give float32, bfloat16 or float16 here."
        )
    return runtime


def read_recipe(name: str) -> dict[str, Any]:
    """The settings of a shipped recipe by dotted name."""
    if name not in get_args(Recipe):
        raise SettingsError(
            f"unknown recipe {name!r}; there are {', '.join(get_args(Recipe))}.{nearest_name(name, get_args(Recipe))}"
        )
    text = resources.files("noisystudent").joinpath("recipes", f"{name}.yaml").read_text()
    return flatten(yaml.safe_load(text) or {})


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file of settings as a nested dictionary."""
    try:
        found = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise SettingsError(f"the settings file {path} does not exist.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise SettingsError(f"the settings file {path} must hold names and values, as in 'train: {{steps: 300}}'.")
    return found


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name; a dotted name in a file is fine too."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as a nested dictionary."""
    nested: dict[str, Any] = {}
    for dotted, value in flat.items():
        *parents, name = dotted.split(".")
        room = nested
        for parent in parents:
            room = room.setdefault(parent, {})
        room[name] = value
    return nested


def _is_text(field: FieldInfo) -> bool:
    """Whether a setting is plain text: a folder may be called 2024 or true and must stay what it is."""
    return field.annotation is str or field.annotation == str | None


def _parse(value: Any, field: FieldInfo) -> Any:  # noqa: ANN401 - whatever YAML can say
    """A command-line value: text is read as YAML (numbers, true, [a, b]); a list may also be written a,b."""
    if not isinstance(value, str) or _is_text(field):
        return value
    if get_origin(field.annotation) is not tuple or value.lstrip().startswith("["):
        return _read(value)
    parts = [part.strip() for part in value.split(",") if part.strip()]
    return parts if get_args(field.annotation)[0] is str else [_read(part) for part in parts]


def _read(value: str) -> Any:  # noqa: ANN401 - whatever YAML can say
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        return value
    # YAML 1.1 does not read 1e-3 as a number and reads dates and times as objects; settings have neither.
    if isinstance(parsed, str):
        try:
            return float(parsed)
        except ValueError:
            return parsed
    return parsed if isinstance(parsed, bool | int | float | list | None) else value


def explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    """Pydantic's findings as one line a setting: name, value, what is allowed, where it came from."""
    lines: dict[str, list[str]] = {}
    for finding in error.errors():
        parts = [str(part) for part in finding["loc"] if isinstance(part, str)]
        name = next(
            (".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in origins), ".".join(parts)
        )
        text = finding["msg"].removeprefix("Value error, ").removesuffix(".")
        message = "it is required" if finding["type"] == "missing" else text[0].lower() + text[1:]
        alone = finding["type"] != "missing" and name in origins  # else of several settings, which the message names
        given = f" (from {origins[name]}: {finding['input']!r})" if alone else ""
        lines.setdefault(f"{name}{given}", []).append(message)
    return "; ".join(f"setting {name}: {' or '.join(dict.fromkeys(found))}" for name, found in lines.items()) + "."
