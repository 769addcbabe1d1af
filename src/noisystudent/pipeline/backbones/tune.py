"""What of a backbone is trained in a run, and what that decides where the settings leave it open."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Literal

import torch

from noisystudent.conditions import for_network
from noisystudent.config import ALL_SETTINGS, Resolved, value_at
from noisystudent.errors import SettingsError
from noisystudent.models.adapters import require_adapters
from noisystudent.pipeline.extensions import Extensions
from noisystudent.run_settings import RunSettings
from noisystudent.runtime.progress import Reporter

HEAD: Literal["head"] = "head"
VIEW_STRENGTH = 0.5  # noise of the views that heads learn from (NOTEBOOK.md has the trials)


def decide_tune(
    settings: RunSettings,
    explicit: Collection[str],
    extensions: Extensions,
    device: torch.device,
    reporter: Reporter,
) -> RunSettings:
    """The settings with ``model.tune`` decided, and with what heads decide: labels, noise, rounds.

    ``auto`` is head with a backbone on a CPU, or where a setting needs heads, unless the run ends with an online
    student or the user gave settings or parts that only the training of a network uses.

    Raises:
        SettingsError: Parts of the user's own that train a network are given with ``model.tune head``.
        ModelError: ``model.tune lora`` needs a library that is not installed.
    """
    given = settings.model.tune
    has_backbone = settings.model.backbone != "none"
    own = [role for role in ("objective", "model", "noise") if getattr(extensions, role) is not None]
    if settings.model.adapter_rank:
        require_adapters(given)
    if given == HEAD and own:
        raise SettingsError(
            f"model.tune head trains no network, and your own {own[0]} is for training one; leave it out, or give "
            "model.tune all."
        )
    of_network, of_heads = for_network(explicit), sorted(name for name in explicit if name.startswith("head."))
    if given == "auto" and has_backbone and of_network and of_heads:
        raise SettingsError(
            f"{of_network[0]} is for training the whole network, and {of_heads[0]} for heads on a frozen one; give "
            "model.tune head or all, and leave the settings of the other out."
        )
    tune: str
    if given != "auto":
        tune = given
    elif not has_backbone or own or of_network or settings.online.method != "none":
        tune = "all"
    elif of_heads or settings.selection.foreign == "drop" or device.type == "cpu":
        tune = HEAD
    else:
        tune = "all"
    model = settings.model.model_copy(update={"tune": tune})
    settings = settings.model_copy(update={"model": model})
    if tune != HEAD:
        return settings
    if given == "auto":
        reporter.say(
            "note: the backbone stays frozen, and heads are trained on its features, in seconds; --tune all "
            "trains the whole network"
        )
    return _for_heads(settings, explicit)


def only_networks(resolved: Resolved) -> Resolved:
    """The settings of a command that trains single networks, for which ``model.tune auto`` means all.

    Raises ``SettingsError`` for ``model.tune head``.
    """
    model = resolved.settings.model
    if model.tune == HEAD:
        raise SettingsError(
            "model.tune head is for run, which labels and learns on the features of a frozen network; train and "
            "distill train networks: give model.tune all, last:N for the last N blocks, or lora."
        )
    if model.adapter_rank:
        require_adapters(model.tune)
    if model.tune != "auto":
        return resolved
    settings = resolved.settings.model_copy(update={"model": model.model_copy(update={"tune": "all"})})
    return replace(resolved, settings=settings)


def _for_heads(settings: RunSettings, explicit: Collection[str]) -> RunSettings:
    """Where the user gave nothing: hard labels of everything, whole images, mild noise, and float32.

    Heads learn better from whole images than from the part that the weights were trained to see (NOTEBOOK.md).
    """
    wanted: dict[str, object] = {
        "data.crop": 1.0,
        "objective.labels": "hard",
        "objective.label_smoothing": 0.0,
        "selection.fraction": 1.0,
        "rounds.count": 1,
    }
    if settings.noise.strength == "auto":
        wanted["noise.strength"] = VIEW_STRENGTH
    if settings.runtime.precision == "auto":
        wanted["runtime.precision"] = "float32"
    if settings.runtime.channels_last == "auto":
        wanted["runtime.channels_last"] = True
    return with_values(settings, {name: value for name, value in wanted.items() if name not in explicit})


def with_setting(settings: RunSettings, name: str, value: object) -> RunSettings:
    """The settings with another value under a dotted name."""
    section, _, field = name.partition(".")
    changed = getattr(settings, section).model_copy(update={field: value})
    return settings.model_copy(update={section: changed})


def with_values(settings: RunSettings, values: Mapping[str, object]) -> RunSettings:
    """The settings with other values, by dotted name."""
    for name, value in values.items():
        settings = with_setting(settings, name, value)
    return settings


def decided_by_tune(asked: RunSettings, used: RunSettings, explicit: Collection[str]) -> dict[str, str]:
    """Where the values came from that ``model.tune head`` decided, by dotted name."""
    if used.model.tune != HEAD:
        return {}
    names = {"data.crop", "selection.fraction", "rounds.count", "noise.strength", "model.tune"}
    return {
        name: "model.tune head"
        for name in ALL_SETTINGS
        if (name in names or name.startswith(("objective.", "runtime.")))
        and name not in explicit
        and value_at(asked, name) != value_at(used, name)
    }
