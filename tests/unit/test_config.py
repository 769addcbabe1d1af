import re

import pytest

from noisystudent.config import RunSettings, flatten, nest, read_recipe, resolve, setting_fields
from noisystudent.errors import SettingsError

BASE = {"labeled": "a", "unlabeled": "b", "out": "c"}


def test_command_line_beats_file_beats_recipe_beats_default(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("train: {steps: 7, batch_size: 9}\nnoise.flip: true\nrecipe: paper\n")
    resolved = resolve({**BASE, "train.steps": "8"}, file)
    settings = resolved.settings
    assert (settings.train.steps, settings.train.batch_size, settings.noise.flip) == (8, 9, True)
    assert settings.selection.rule == "threshold"
    assert resolved.origins["train.steps"] == "command line"
    assert resolved.origins["train.batch_size"] == "file mine.yaml"
    assert resolved.origins["selection.rule"] == "recipe paper"
    assert resolved.origins["train.clip"] == "default"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("train.stepz", "3", r"unknown setting 'train\.stepz'.*Did you mean 'train\.steps'"),
        ("noize.flip", "true", r"unknown setting 'noize\.flip'.*Did you mean 'noise\.flip'"),
        ("train.steps", "-1", r"train\.steps \(from command line: -1\): input should be greater than or equal to 1"),
        ("train.steps", "many", r"train\.steps.*'many'.*integer"),
        ("selection.rule", "best", r"selection\.rule.*'curriculum' or 'threshold'"),
        ("noise.strength", "9", r"noise\.strength"),
        ("recipe", "papre", r"unknown recipe 'papre'.*Did you mean 'paper'"),
        ("runtime.device", "gpu", r"runtime\.device"),
    ],
)
def test_mistakes_name_the_setting_the_value_and_the_way_out(name, value, message):
    with pytest.raises(SettingsError, match=message) as caught:
        resolve({**BASE, name: value})
    assert "\n" not in str(caught.value)


def test_what_is_required_is_said():
    with pytest.raises(SettingsError, match=r"setting out: it is required"):
        resolve({})


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "is not YAML"), ("- 1", "must hold names and values"), (None, "does not exist")]
)
def test_a_bad_file_is_named(tmp_path, text, message):
    file = tmp_path / "mine.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError, match=rf"{re.escape(str(file))}.*{message}"):
        resolve(BASE, file)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("model.students", "wrn_28_2, wrn_28_8", ("wrn_28_2", "wrn_28_8")),
        ("distillation.teachers", "2024", ("2024",)),
        ("noise.strengths", "0.5,1", (0.5, 1.0)),
        ("evaluation.severities", "3", (3,)),
        ("evaluation.suite", "attacks", ("attacks",)),
        ("evaluation.epsilons", "[1, 2]", (1.0, 2.0)),
    ],
)
def test_a_list_is_written_with_commas(name, text, value):
    room, setting = name.split(".")
    assert getattr(getattr(resolve({**BASE, name: text}).settings, room), setting) == value


def test_values_are_read_as_yaml():
    settings = resolve({**BASE, "train.learning_rate": "1e-3", "model.students": "[wrn_28_2, wrn_28_8]"}).settings
    assert settings.train.learning_rate == 0.001
    assert settings.model.students == ("wrn_28_2", "wrn_28_8")


def test_dotted_names_survive_the_way_there_and_back():
    settings = resolve(BASE).settings.model_dump(mode="json")
    assert nest(flatten(settings)) == settings
    assert set(setting_fields()) == set(flatten(settings))


def test_every_setting_explains_itself():
    for name, field in setting_fields().items():
        assert field.description, name


@pytest.mark.parametrize("recipe", ["curriculum", "paper"])
def test_recipes_hold_known_settings_only(recipe):
    assert set(read_recipe(recipe)) <= set(setting_fields())
    assert resolve({**BASE, "recipe": recipe}).settings.recipe == recipe


def test_settings_cannot_be_changed_after_birth():
    settings = RunSettings(labeled="a", out="b")
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 3


@pytest.mark.parametrize("name", ["precision", "channels_last", "compile"])
def test_a_model_that_is_shared_out_cannot_be_timed_or_compiled_whole(name):
    told = {**BASE, "runtime.sharded": True, f"runtime.{name}": name == "compile" or "auto"}
    with pytest.raises(SettingsError, match=f"setting runtime: .*{name} needs"):
        resolve(told)
