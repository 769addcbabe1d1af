"""``train --start``: a model goes on from trained weights, last layer included, such as those of pseudo labels."""

import pytest
import torch
from safetensors.torch import load_file

import noisystudent as ns
from noisystudent.commands.main import main
from noisystudent.errors import ModelError, SettingsError
from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier

SETTINGS = {"noise.strength": 0.25, "train.batch_size": 32, "runtime.threads": 1, "data.near_duplicates": "none"}
LONG = {**SETTINGS, "train.steps": 60, "model.teacher": "tiny_resnet"}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return ns.train("digits:labeled", out=tmp_path_factory.mktemp("first") / "model", settings=LONG, quiet=True)


def train(out, start, **settings):
    return ns.train("digits:labeled", out=out, start=start, settings={**SETTINGS, **settings}, quiet=True)


def test_without_steps_that_move_it_stays_the_model_it_started_from(first, tmp_path):
    still = train(tmp_path / "still", first.folder, **{"train.steps": 1, "train.learning_rate": 1e-12})
    given, found = (load_file(model.folder / "model.safetensors") for model in (first, still))
    assert given.keys() == found.keys()
    assert all(torch.allclose(given[name], found[name], atol=1e-6) for name in given if "weight" in name)


def test_it_goes_on_learning_at_the_rate_for_trained_weights(first, tmp_path, capsys):
    given = [f"--{name}={value}" for name, value in {**SETTINGS, "train.steps": 5, "out": tmp_path / "more"}.items()]
    assert main(["train", "--labeled", "digits:labeled", "--start", str(first.folder), *given]) == 0
    assert "train.learning_rate is 0.0005, because the model starts from trained weights" in capsys.readouterr().err
    score = ns.evaluate(checkpoint=tmp_path / "more", source="digits:test").top1
    assert score > 0.8  # five steps from scratch leave it at chance
    assert main(["train", "--labeled", "digits:labeled", "--start", str(first.folder), *given]) == 0
    assert "done before" in capsys.readouterr().err


def test_it_searches_no_strength_with_other_weights(first, tmp_path, capsys):
    given = {name: value for name, value in SETTINGS.items() if name != "noise.strength"}
    ns.train("digits:labeled", out=tmp_path / "more", start=first.folder, settings={**given, "train.steps": 2})
    assert "strength 0.25, the weakest of noise.strengths, is used without a search" in " ".join(
        capsys.readouterr().err.split()
    )
    assert {path.name for path in tmp_path.iterdir()} == {"more"}


def test_it_goes_on_at_another_size_where_its_weights_allow_that(first, tmp_path):
    own = ns.load(first.folder).size
    still = {"train.steps": 1, "train.learning_rate": 1e-12}
    larger = train(tmp_path / "larger", first.folder, **{**still, "data.size": 16})
    assert (own, ns.load(larger.folder).size) == (8, 16)
    given, found = (load_file(model.folder / "model.safetensors") for model in (first, larger))
    assert all(torch.allclose(given[name], found[name], atol=1e-6) for name in given if "weight" in name)
    vit = create_classifier("test_vit", classes=tuple("0123456789"), channels=1, size=160)
    save_classifier(vit, tmp_path / "vit")
    with pytest.raises(ModelError, match=r"weights of start do not fit test_vit at 32 px .*pos_embed.* at its 160 px"):
        train(tmp_path / "out", tmp_path / "vit", **{"train.steps": 1, "data.size": 32})


def test_another_start_is_another_model(first, tmp_path):
    one = train(tmp_path / "out", first.folder, **{"train.steps": 2})
    other = ns.train("digits:labeled", out=tmp_path / "other", settings={**LONG, "seed": 1}, quiet=True)
    assert train(tmp_path / "out", other.folder, **{"train.steps": 2}).fingerprint != one.fingerprint


@pytest.mark.parametrize("setting", [{"model.teacher": "tiny_resnet"}, {"model.backbone": "none"}])
def test_settings_of_another_model_are_refused(first, tmp_path, setting):
    with pytest.raises(SettingsError, match="--start brings its model, and model"):
        train(tmp_path / "out", first.folder, **setting)


def test_other_classes_and_channels_are_refused(tmp_path):
    letters = create_classifier("tiny_resnet", classes=tuple("abcdefghij"), channels=1, size=8)
    save_classifier(letters, tmp_path / "letters")
    with pytest.raises(ModelError, match="other classes"):
        train(tmp_path / "out", tmp_path / "letters")
    colors = create_classifier("tiny_resnet", classes=tuple("0123456789"), channels=3, size=8)
    save_classifier(colors, tmp_path / "colors")
    with pytest.raises(ModelError, match="channels"):
        train(tmp_path / "out", tmp_path / "colors", **{"data.channels": "gray"})
