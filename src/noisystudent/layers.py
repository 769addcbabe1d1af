"""The layers of settings: defaults, recipe, file, what the user gave; and the presets that a layer may name.

A preset stands for several settings. It is expanded in the layer that names it: it takes precedence over every lower
layer, and what its own or a higher layer says takes precedence over it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from noisystudent.losses.presets import PRESETS as DISTILLATION_PRESETS
from noisystudent.models.settings import (
    AUTO_BACKBONE,
    FAMILY_STOCHASTIC_DEPTH,
    NO_BACKBONE,
    PUBLISHED,
    USUAL_MODEL,
    ModelSettings,
    family_members,
    is_model_name,
)
from noisystudent.noise.settings import PRESETS as NOISE_PRESETS
from noisystudent.training.fix_settings import PRESETS as FIX_PRESETS
from noisystudent.training.pretraining_presets import PRESETS as PRETRAINING_PRESETS

PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "noise.preset": NOISE_PRESETS,
    "distillation.preset": DISTILLATION_PRESETS,
    "fix.preset": FIX_PRESETS,
    "pretraining.preset": PRETRAINING_PRESETS,
}
"""The settings that name a preset: for each preset, the values of settings in the same section."""

FAMILY = "model.family"
RATES = ("noise.dropout", "noise.stochastic_depth")  # a family has its own
PRETRAINED, BACKBONE, LEARNING_RATE = "model.pretrained", "model.backbone", "train.learning_rate"
TUNE = "model.tune"
PRETRAINED_RATE = 5e-4  # training from scratch takes four times that, which moves pretrained weights too far

Values = Mapping[str, Any]  # by dotted name


@dataclass(frozen=True)
class Layer:
    """Settings from one place: its name, such as ``file run.yaml``, and their values by dotted name."""

    origin: str
    values: Values


@dataclass(frozen=True)
class Merged:
    """Settings of all layers.

    ``origins``: where the value of each comes from; ``notes``: what replaced other settings, for the user;
    ``over_family``: the rates of noise that take precedence over those of ``model.family``.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    over_family: frozenset[str] = frozenset()


def merge(layers: Sequence[Layer]) -> Merged:
    """Merges layers, each of which takes precedence over those before it, with their presets.

    Args:
        layers: from the lowest to the highest; of the first, recipes have no family.
    """
    naming = {name: last for name in (*PRESETS, FAMILY) if (last := _last_naming(layers, name)) is not None}
    merged, decided = Merged(), dict.fromkeys(RATES, -1)
    for number, layer in enumerate(layers):
        for name, presets in PRESETS.items():
            if naming.get(name) == number:
                expanded = _expanded(name, presets, layer.values[name])
                _note_replaced(merged, f"{name} {layer.values[name]} ({layer.origin})", expanded, layer.values)
                merged.values.update(expanded)
                merged.origins.update(dict.fromkeys(expanded, f"{name} {layer.values[name]} ({layer.origin})"))
                decided.update(dict.fromkeys(decided.keys() & expanded.keys(), number))
        merged.values.update(layer.values)
        merged.origins.update(dict.fromkeys(layer.values, layer.origin))
        if number:
            decided.update(dict.fromkeys(decided.keys() & layer.values.keys(), len(layers)))
    if merged.values.get(PRETRAINED) is True and BACKBONE not in merged.values:
        merged.values[BACKBONE] = f"{PUBLISHED}{_first_model(merged.values)}"
        merged.origins[BACKBONE] = f"{PRETRAINED} true"
    is_adamw = merged.values.get("train.optimizer", "adamw") == "adamw"  # other optimizers have other scales
    if (start := _pretrained_start(merged.values)) and is_adamw and LEARNING_RATE not in merged.values:
        merged.values[LEARNING_RATE] = PRETRAINED_RATE
        merged.origins[LEARNING_RATE] = start
        if start != f"{BACKBONE} {AUTO_BACKBONE}":  # it may find none: the run says it
            merged.notes.append(
                f"{LEARNING_RATE} is {PRETRAINED_RATE:g}, because the models start from pretrained weights"
            )
    return _with_family(merged, decided, naming.get(FAMILY))


def _pretrained_start(values: Values) -> str:
    """The setting that lets models start from pretrained weights, with its value; empty if they start from scratch."""
    if values.get(PRETRAINED) is True:
        return f"{PRETRAINED} true"
    backbone = values.get(BACKBONE, ModelSettings.model_fields["backbone"].default)
    return f"{BACKBONE} {backbone}" if backbone != NO_BACKBONE else ""


def _first_model(values: Values) -> str:
    """The name in timm of the first model that the settings leave to train; a usual one where they name none."""
    students = values.get("distillation.students")  # not validated yet, as all of these
    names = [values.get("model.teacher"), *(students if isinstance(students, list | tuple) else ())]
    family = values.get(FAMILY)
    if isinstance(family, str) and family:
        try:
            names = [member.large for member in family_members(family)]
        except ValueError:  # validation explains it
            return USUAL_MODEL
    return next((name for name in names if isinstance(name, str) and is_model_name(name)), USUAL_MODEL)


def _last_naming(layers: Sequence[Layer], name: str) -> int | None:
    return max((number for number, layer in enumerate(layers) if name in layer.values), default=None)


def _expanded(name: str, presets: Mapping[str, Values], preset: object) -> dict[str, Any]:
    """The settings of a preset by dotted name; none for an unknown preset, which validation refuses."""
    section = name.partition(".")[0]
    values = presets.get(preset, {}) if isinstance(preset, str) else {}
    return {f"{section}.{key}": value for key, value in values.items()}


def _note_replaced(merged: Merged, preset: str, expanded: Values, own: Values) -> None:
    """Notes the settings of lower layers that a preset changes."""
    replaced: dict[str, list[str]] = {}
    for name, value in expanded.items():
        if name in merged.values and merged.values[name] != value and name not in own:
            replaced.setdefault(merged.origins[name], []).append(f"{name} {merged.values[name]}")
    for origin, names in replaced.items():
        merged.notes.append(f"{preset} replaces {', '.join(names)} of {origin}")


def _with_family(merged: Merged, decided: Mapping[str, int], family_layer: int | None) -> Merged:
    """The same settings, with the origin of the rates that the family's models decide."""
    family = merged.values.get(FAMILY)
    if family_layer is None or not family or not isinstance(family, str):
        return merged
    try:
        members = family_members(family)
    except ValueError:  # validation explains it
        return merged
    rates = {
        "noise.dropout": [member.dropout for member in members],
        "noise.stochastic_depth": [FAMILY_STOCHASTIC_DEPTH] * len(members),
    }
    kept = frozenset(name for name, layer in decided.items() if layer >= family_layer)
    for name, values in rates.items():
        shown = ", ".join(f"{value:g}" for value in dict.fromkeys(values))
        if name in kept:
            if any(value != merged.values[name] for value in values):
                text = f"{name} {merged.values[name]} ({merged.origins[name]}) replaces {shown} of {FAMILY}"
                merged.notes.append(text)
        else:
            merged.origins[name] = f"{FAMILY} {family}: {shown}"
            merged.values[name] = values[-1]
    return Merged(merged.values, merged.origins, merged.notes, kept)
