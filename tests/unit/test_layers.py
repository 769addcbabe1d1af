"""What the user says beats recipe, preset and family; a preset counts in the layer that names it."""

from typing import get_args

import pytest

from noisystudent.config import read_recipe, resolve
from noisystudent.errors import SettingsError
from noisystudent.layers import PRESETS
from noisystudent.losses.presets import PRESETS as DISTILLATION_PRESETS
from noisystudent.losses.settings import DistillationSettings
from noisystudent.noise.settings import PRESETS as NOISE_PRESETS
from noisystudent.noise.settings import NoiseSettings
from noisystudent.run_settings import Recipe
from noisystudent.settings_input import flatten

BASE = {"labeled": "a", "unlabeled": "b", "out": "c"}
SECTIONS = {"noise": NoiseSettings, "distillation": DistillationSettings}
# Another valid value than any preset has.
OTHERS = {"noise.strength": 0.7, "noise.dropout": 0.123, "distillation.hard_weight": 0.77}


def command_of(recipe):
    return "run" if recipe in ("curriculum", "paper", "bit", "simclrv2") else "distill"


def effective(settings):
    return flatten(settings.model_dump())


@pytest.mark.parametrize("recipe", get_args(Recipe))
def test_every_preset_of_the_user_wins_over_the_recipe(recipe, tmp_path):
    wrong = [
        (preset, form)
        for preset in (*NOISE_PRESETS, *DISTILLATION_PRESETS)
        for form, resolved in resolved_in_every_form(recipe, preset, tmp_path / "run.yaml").items()
        if not has_preset(effective(resolved.settings), recipe, preset)
    ]
    assert wrong == []


def section_of(preset):
    return "noise" if preset in NOISE_PRESETS else "distillation"


def resolved_in_every_form(recipe, preset, file):
    section, command = section_of(preset), command_of(recipe)
    file.write_text(f"recipe: {recipe}\n{section}: {{preset: '{preset}'}}\n")
    given = {**BASE, "recipe": recipe, f"{section}.preset": preset}
    objects = [BASE, {"recipe": recipe}, SECTIONS[section](preset=preset)]
    return {
        "names": resolve(given, command=command),
        "objects": resolve(objects, command=command),
        "file": resolve(BASE, file, command=command),
    }


def has_preset(values, recipe, preset):
    """Whether all values of the preset are there, and all others are those of the recipe."""
    section = section_of(preset)
    expected = {f"{section}.{name}": value for name, value in PRESETS[f"{section}.preset"][preset].items()}
    others = {
        name: value
        for name, value in read_recipe(recipe).items()
        if name not in expected and name != f"{section}.preset" and not isinstance(value, list)
    }
    return all(values[name] == value for name, value in {**expected, **others}.items())


@pytest.mark.parametrize("recipe", ["curriculum", "paper", "distillation"])
@pytest.mark.parametrize("preset", [*NOISE_PRESETS])
def test_within_a_layer_and_above_it_explicit_values_win_over_a_preset(recipe, preset, tmp_path):
    command, own = command_of(recipe), {"noise.dropout": OTHERS["noise.dropout"]}
    file = tmp_path / "run.yaml"
    file.write_text(f"noise: {{preset: {preset}, stochastic_depth: 0.05}}\n")
    same = resolve({**BASE, "recipe": recipe, "noise.preset": preset, **own}, command=command)
    above = resolve({**BASE, "recipe": recipe, **own}, file, command=command)
    for resolved in (same, above):
        assert resolved.settings.noise.dropout == OTHERS["noise.dropout"]
        assert resolved.origins["noise.dropout"] == "arguments"
        assert resolved.settings.noise.strength == NOISE_PRESETS[preset]["strength"]
    assert above.settings.noise.stochastic_depth == 0.05


def test_a_preset_above_an_explicit_value_wins_and_says_so(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("noise: {dropout: 0.3, magnitude: 9}\n")
    resolved = resolve({**BASE, "noise.preset": "paper-b7"}, file)
    assert (resolved.settings.noise.dropout, resolved.settings.noise.magnitude) == (0.5, 27)
    assert resolved.origins["noise.dropout"] == "noise.preset paper-b7 (arguments)"
    assert resolved.notes == (
        "noise.preset paper-b7 (arguments) replaces noise.magnitude 9, noise.dropout 0.3 of file run.yaml",
    )


def test_only_the_highest_preset_is_expanded(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("noise: {preset: svhn}\n")
    noise = resolve({**BASE, "noise.preset": "none"}, file).settings.noise
    assert (noise.hole, noise.strength, noise.preset) == (0, 0.0, "none")
    assert resolve({**BASE, "noise.preset": ""}, file).settings.noise == NoiseSettings()
    given = {"recipe": "distillation", "distillation.preset": "paper:hinton2015"}
    assert resolve([BASE, given], command="distill").settings.distillation.temperature == 2.0


@pytest.mark.parametrize(
    ("given", "dropout", "over_family"),
    [
        ({}, 0.3, set()),
        ({"recipe": "paper"}, 0.3, set()),
        ({"noise.dropout": 0.1}, 0.1, {"noise.dropout"}),
        ({"noise.dropout": 0}, 0, {"noise.dropout"}),
        ({"noise.preset": "none"}, 0, {"noise.dropout", "noise.stochastic_depth"}),
        ({"noise.preset": "paper-b7"}, 0.5, {"noise.dropout", "noise.stochastic_depth"}),
        ({"noise.preset": "timm"}, 0.3, set()),
        ({"noise.stochastic_depth": 0.4}, 0.3, {"noise.stochastic_depth"}),
    ],
)
def test_the_user_s_rates_win_over_a_family_and_the_origin_says_which(given, dropout, over_family):
    resolved = resolve({**BASE, "model.family": "efficientnet:b0,b2", **given})
    assert resolved.settings.noise.dropout == dropout
    assert resolved.over_family == over_family
    family_decides = "noise.dropout" not in over_family
    assert resolved.origins["noise.dropout"].startswith("model.family efficientnet:b0,b2: 0.2, 0.3") == family_decides
    same = {"noise.stochastic_depth"} if given == {"noise.preset": "paper-b7"} else set()  # as the family's: not said
    assert len(resolved.notes) == len(over_family - same)


def test_a_family_above_a_preset_decides(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("noise: {preset: paper-b7}\n")
    assert resolve({**BASE, "model.family": "efficientnet:b0"}, file).over_family == set()
    file.write_text("noise: {dropout: 0.4}\n")
    assert resolve({**BASE, "model.family": "efficientnet:b0"}, file).over_family == {"noise.dropout"}


def test_published_weights_are_trained_at_a_rate_that_keeps_them():
    given = {"out": "x", "labeled": "digits", "unlabeled": "digits"}
    scratch = resolve({**given, "model.backbone": "none"})
    pretrained = resolve({**given, "model.pretrained": True})
    assert (scratch.settings.train.learning_rate, pretrained.settings.train.learning_rate) == (2e-3, 5e-4)
    assert pretrained.origins["train.learning_rate"] == "model.pretrained true"
    assert pretrained.notes == ("train.learning_rate is 0.0005, because the models start from pretrained weights",)
    assert (pretrained.settings.model.backbone, pretrained.origins["model.backbone"]) == (
        "timm:efficientnet_b0",
        "model.pretrained true",
    )
    own = resolve({**given, "model.pretrained": True, "train.learning_rate": 1e-3})
    assert own.settings.train.learning_rate == 1e-3
    backbone = resolve({**given, "model.backbone": "efficientnet-lite0"})
    assert backbone.settings.train.learning_rate == 5e-4
    assert backbone.origins["train.learning_rate"] == "model.backbone efficientnet-lite0"
    assert resolve({**given, "model.backbone": "none"}).settings.train.learning_rate == 2e-3
    sgd = resolve({**given, "model.pretrained": True, "train.optimizer": "sgd"})
    assert sgd.settings.train.learning_rate == 2e-3  # another optimizer has another scale


@pytest.mark.parametrize(
    ("command", "given", "first"),
    [
        ("run", {"model.teacher": "resnet18.a1_in1k", "model.students": ["resnet34"]}, "resnet18.a1_in1k"),
        ("run", {"model.teacher": "auto"}, "efficientnet_b0"),
        ("run", {"model.family": "efficientnet:b1,b2"}, "tf_efficientnet_b1"),
        ("distill", {"distillation.students": ["./runs/a", "resnet34"]}, "resnet34"),
        ("distill", {"distillation.students": ["auto"]}, "efficientnet_b0"),
    ],
)
def test_published_weights_of_every_model_begin_with_the_backbone_of_the_first(command, given, first):
    values = {"out": "x", "labeled": "digits", **({"unlabeled": "digits"} if command == "run" else {}), **given}
    resolved = resolve({**values, "model.pretrained": True}, command=command)
    assert resolved.settings.model.backbone == f"timm:{first}"
    assert resolve(values, command=command).settings.model.backbone in ("none", "auto")


@pytest.mark.parametrize(
    ("name", "value"),
    [("distillation.students", 5), ("distillation.students", {"a": 1}), ("model.backbone", 5)],
)
def test_wrong_values_beside_published_weights_are_refused_by_name(name, value):
    with pytest.raises(SettingsError, match=rf"setting {name} .*give text"):
        resolve({"out": "x", "labeled": "digits", "model.pretrained": True, name: value}, command="distill")


@pytest.mark.parametrize("family", [5, ["b0"], "efficientnet:b99"])
def test_a_wrong_family_beside_published_weights_is_refused_by_name(family):
    given = {"out": "x", "labeled": "digits", "unlabeled": "digits", "model.pretrained": True}
    with pytest.raises(SettingsError, match="family"):
        resolve({**given, "model.family": family})
