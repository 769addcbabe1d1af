"""What ``start`` stands for in each command: an encoder or a transfer's weights are a backbone, else train goes on."""

import pytest

import noisystudent as ns
from noisystudent.api.starts import take_start
from noisystudent.config import given_values
from noisystudent.errors import SettingsError
from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier
from noisystudent.models.projection import create_projected, encoder_of

COMMANDS = ["train", "run", "plan", "distill"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    save_classifier(encoder_of(create_projected("tiny_resnet", channels=1, size=8, layers=2, projection=8)), folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_classifier(create_classifier("tiny_resnet", classes=("a", "b"), channels=1, size=8), folder)
    return folder


def taken(command, start, settings=None, config=None):
    given, left = take_start(command, start, config, settings)
    return given_values(given), left


@pytest.mark.parametrize("command", COMMANDS)
def test_an_encoder_is_a_backbone_in_every_command(encoder, command):
    assert taken(command, encoder, {"seed": 3}) == ({"seed": 3, "model.backbone": str(encoder)}, None)
    assert taken(command, None, {"seed": 3}) == ({"seed": 3}, None)
    assert taken(command, encoder, {"model.backbone": str(encoder)}) == ({"model.backbone": str(encoder)}, None)
    with pytest.raises(SettingsError, match=r"start .* and model\.backbone x both name the weights to begin with"):
        taken(command, encoder, {"model.backbone": "x"})


def test_only_train_goes_on_from_a_model_with_classes(model):
    assert taken("train", model) == ({}, model)
    for command in COMMANDS[1:]:
        with pytest.raises(
            SettingsError, match=rf"{command} takes as start an encoder .* is neither.*--backbone \(model"
        ):
            taken(command, model)


@pytest.mark.parametrize("command", ["train", "run", "plan"])
def test_a_transfer_takes_weights_of_any_classes(model, command, tmp_path):
    config = tmp_path / "bit.yaml"
    config.write_text("recipe: bit\n")
    assert taken(command, str(model), config=config) == ({"model.backbone": str(model)}, None)
    named = {"recipe": "bit", "model.backbone": "efficientnet-lite0"}
    assert taken(command, "efficientnet-lite0", named) == (named, None)
    with pytest.raises(SettingsError, match=r"start runs/a and model\.backbone efficientnet-lite0 both name"):
        taken(command, "runs/a", named)
    with pytest.raises(SettingsError, match="takes the weights to transfer by name"):
        taken(command, ns.load(model), {"recipe": "bit"})


def test_an_encoder_stands_for_the_pretraining_of_the_chain(encoder):
    given, _ = taken("run", encoder, {"recipe": "simclrv2"})
    assert given == {"recipe": "simclrv2", "model.backbone": str(encoder), "pretraining.method": "none"}
    given, _ = taken("run", encoder, {"recipe": "simclrv2", "pretraining.method": "simclr"})
    assert given["pretraining.method"] == "simclr"  # refused where the run is resolved, as without start
