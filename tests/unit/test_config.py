import re
from pathlib import Path

import pytest

from noisystudent.commands.main import COMMANDS, main
from noisystudent.config import (
    ALL_SETTINGS,
    USED,
    default_values,
    given_values,
    read_recipe,
    resolve,
    section_settings,
)
from noisystudent.cost.settings import PriceAssumptions
from noisystudent.data.settings import DataSettings
from noisystudent.errors import SettingsError
from noisystudent.losses.settings import DistillationSettings
from noisystudent.models.settings import ModelSettings
from noisystudent.noise.settings import NoiseSettings
from noisystudent.pseudo_labels.selection.settings import SelectionSettings
from noisystudent.run_settings import RoundSettings, RunSettings
from noisystudent.settings_input import as_list, flatten, nest, section_classes
from noisystudent.training.settings import TrainSettings

BASE = {"labeled": "a", "unlabeled": "b", "out": "c"}
# Words that readers of the help do not know, and phrases of them: see the words of the project in its design.
OLD_WORDS = (
    r"\b(pictures?|piles?|verbs?|rooms?|image passes|lessons?|tutors?|contenders?|(label|image|copie)s? a class)\b"
)
HELP_OF = {"robustness": "evaluate"}  # commands of the command line that have another name in Python


def with_switches(command: str) -> dict[str, object]:
    """Settings that switch on every conditional use of other settings, and no more."""
    switches = {"noise.teacher": True, "evaluation.suite": ["clean"], "distillation.method": "kd"}
    return {name: value for name, value in switches.items() if name in USED[command]}


def resolve_one(command: str, name: str, value: object) -> None:
    """Resolves a setting alone, with what it needs beside it; section commands have no folder ``out``."""
    given = {**with_switches(command), name: value}
    if "out" in USED[command]:
        base = {key: value for key, value in BASE.items() if key in USED[command]}
        resolve([base if name not in BASE else {"out": "c"}, given], command=command)
    else:
        section_settings(NoiseSettings, "noise", given, command=command)


# ---------------------------------------------------------------- layers


def test_arguments_beat_file_beats_recipe_beats_default(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("train: {steps: 7, batch_size: 9}\nnoise.flip: true\nrecipe: paper\n")
    resolved = resolve({**BASE, "train.steps": "8"}, file)
    settings = resolved.settings
    assert (settings.train.steps, settings.train.batch_size, settings.noise.flip) == (8, 9, True)
    assert settings.selection.rule == "threshold"
    assert resolved.origins["train.steps"] == "arguments"
    assert resolved.origins["train.batch_size"] == "file mine.yaml"
    assert resolved.origins["selection.rule"] == "recipe paper"
    assert resolved.origins["train.clip"] == "default"
    assert resolved.explicit == {*BASE, "train.steps", "train.batch_size", "noise.flip", "recipe"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("train.stepz", "3", r"unknown setting 'train\.stepz' \(arguments\).*Did you mean 'train\.steps'"),
        ("noize.flip", "true", r"unknown setting 'noize\.flip'.*Did you mean 'noise\.flip'"),
        ("trian", {"steps": 3}, r"unknown setting 'trian'.*Did you mean 'train'"),
        ("train.steps", "-1", r"train\.steps \(from arguments: -1\): give a whole number of at least 1\.$"),
        ("train.steps", "many", r"train\.steps.*'many'.*whole number"),
        ("train.steps", {"a": 1}, r"train\.steps \(from arguments: {'a': 1}\)"),
        ("selection.rule", "best", r"selection\.rule.*give curriculum or threshold"),
        ("noise.strength", "9", r"noise\.strength"),
        ("recipe", "papre", r"unknown recipe 'papre'.*Did you mean 'paper'"),
        ("runtime.device", "gpu", r"runtime\.device"),
        (3, 4, r"name is 3; names are text"),
    ],
)
def test_mistakes_name_the_setting_the_value_and_the_way_out(name, value, message):
    with pytest.raises(SettingsError, match=message) as caught:
        resolve({**BASE, name: value})
    assert "\n" not in str(caught.value)


def test_a_required_setting_is_named():
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
        ("noise.strengths", "0.5,1", (0.5, 1.0)),
        ("evaluation.severities", "3", (3,)),
        ("evaluation.suite", "attacks", ("attacks",)),
        ("evaluation.epsilons", "[1, 2]", (1.0, 2.0)),
    ],
)
def test_a_list_is_written_with_commas(name, text, value):
    section, setting = name.split(".")
    settings = resolve({"evaluation.suite": "attacks,corruptions", **BASE, name: text}).settings
    assert getattr(getattr(settings, section), setting) == value


def test_text_is_never_read_as_a_number():
    given = {
        "out": "2024",
        "labeled": Path("true"),
        "distillation.teachers": "2024",
        "distillation.students": [Path("a")],
    }
    settings = resolve(given, command="distill").settings
    assert (settings.out, settings.labeled) == ("2024", "true")
    assert (settings.distillation.teachers, settings.distillation.students) == (("2024",), ("a",))


def test_values_are_read_as_yaml():
    settings = resolve({**BASE, "train.learning_rate": "1e-3", "model.students": "[wrn_28_2, wrn_28_8]"}).settings
    assert settings.train.learning_rate == 0.001
    assert settings.model.students == ("wrn_28_2", "wrn_28_8")


def test_dotted_names_survive_the_way_there_and_back():
    settings = resolve(BASE).settings.model_dump(mode="json")
    assert nest(flatten(settings)) == settings
    assert set(ALL_SETTINGS) == set(flatten(settings))


def test_every_setting_explains_itself():
    for name, field in ALL_SETTINGS.items():
        assert field.description, name


@pytest.mark.parametrize("recipe", ["curriculum", "paper"])
def test_recipes_hold_known_settings_only(recipe):
    assert set(read_recipe(recipe)) <= set(ALL_SETTINGS)
    resolved = resolve({**BASE, "recipe": recipe})
    assert resolved.settings.recipe == recipe
    assert resolved.explicit == {*BASE, "recipe"}


def test_the_papers_noise_is_a_preset_and_not_in_its_recipe():
    """Small images and networks do not bear magnitude 27 (docs/results/ablations.md)."""
    noise = resolve({**BASE, "recipe": "paper"}).settings.noise
    assert (noise.strength, noise.magnitude) == ("auto", NoiseSettings().magnitude)
    published = resolve({**BASE, "recipe": "paper", "noise.preset": "paper-b7"}).settings.noise
    assert (published.strength, published.policy, published.magnitude, published.dropout) == (1.0, "paper", 27, 0.5)


@pytest.mark.parametrize(
    ("recipe", "temperature"), [("reversed", 4), ("defective", 4), ("self-taught", 4), ("virtual-teacher", 20)]
)
def test_recipes_for_any_number_of_classes_weigh_soft_targets_mildly(recipe, temperature):
    distillation = resolve({"recipe": recipe, "labeled": "a", "out": "b"}, command="distill").settings.distillation
    assert (distillation.hard_weight, distillation.soft_weight, distillation.temperature) == (0.9, 0.1, temperature)
    assert distillation.reduction == "rows"


def test_settings_cannot_be_changed_after_birth():
    settings = RunSettings(labeled="a", out="b")
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 3


@pytest.mark.parametrize("name", ["precision", "channels_last", "compile"])
def test_a_sharded_model_cannot_be_timed_or_compiled_whole(name):
    given = {**BASE, "runtime.sharded": True, f"runtime.{name}": name == "compile" or "auto"}
    with pytest.raises(SettingsError, match=f"setting runtime: .*{name}( auto)? needs a full copy"):
        resolve(given)


# ---------------------------------------------------------------- the forms that settings may have


@pytest.mark.parametrize(
    "given",
    [
        {"train.steps": 5, "train.clip": 2.0, "noise.flip": True},
        {"train.steps": "5", "train.clip": "2.0", "noise.flip": "true"},
        {"train": {"steps": 5, "clip": 2.0}, "noise": {"flip": True}},
        {"train": {"steps": 5}, "train.clip": 2.0, "noise": NoiseSettings(flip=True)},
        {"train": TrainSettings(steps=5, clip=2.0), "noise.flip": True},
        [TrainSettings(steps=5, clip=2.0), NoiseSettings(flip=True)],
        (TrainSettings(steps=5), {"train": {"clip": 2.0}}, {"noise.flip": True}),
        [TrainSettings(steps=5, clip=2.0), {"train.steps": "5", "noise": {"flip": True}}],
        RunSettings(out="c", train=TrainSettings(steps=5, clip=2.0), noise=NoiseSettings(flip=True)),
        [RunSettings(out="c", train=TrainSettings(steps=5, clip=2.0)), NoiseSettings(flip=True), {"out": "c"}],
    ],
)
def test_every_form_of_settings_says_the_same(given):
    expected = {"train.steps": 5, "train.clip": 2.0, "noise.flip": True}
    assert {name: value for name, value in given_values(given).items() if name != "out"} == expected
    resolved = resolve([*as_list(given), BASE])
    assert resolved.explicit == {*BASE, *expected}
    assert (resolved.settings.train.steps, resolved.settings.noise.flip) == (5, True)


def test_of_an_object_only_the_set_fields_count():
    resolved = resolve([BASE, SelectionSettings(max_copies=3), NoiseSettings(flip=True), {"recipe": "paper"}])
    assert (resolved.settings.selection.rule, resolved.settings.selection.max_copies) == ("threshold", 3)
    assert resolved.settings.noise.flip is True
    assert resolved.origins["selection.once"] == "recipe paper"
    assert given_values(RunSettings(out="x", rounds=RoundSettings())) == {"out": "x"}
    assert given_values(None) == given_values({}) == given_values([]) == given_values({"train": None}) == {}


def test_values_of_an_object_s_preset_do_not_count_as_set():
    assert given_values(NoiseSettings(preset="svhn", flip=True)) == {"noise.preset": "svhn", "noise.flip": True}
    resolved = resolve([BASE, NoiseSettings(preset="svhn"), {"noise.hole": 0}])
    assert (resolved.settings.noise.hole, resolved.settings.noise.translation) == (0, 4.0)
    assert "noise.dropout" not in resolved.explicit
    given = DistillationSettings(preset="paper:hinton2015", temperature=2.0)
    assert given_values(given) == {"distillation.preset": "paper:hinton2015", "distillation.temperature": 2.0}
    assert resolve([BASE, given]).settings.distillation == given
    whole = RunSettings(out="x", distillation=given)
    assert whole.distillation == given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train": NoiseSettings()}, "'train' is a section of the settings and holds NoiseSettings; give TrainS"),
        ({"train": 5}, r"'train' is a section .* holds 5; give TrainSettings, .* such as 'train\.steps'"),
        (PriceAssumptions, "settings hold the class PriceAssumptions"),
        (TrainSettings, "settings hold the class TrainSettings"),
        ("train.steps=5", "settings hold str"),
        (5, "settings hold int"),
        ([{"seed": 1}, 5], "settings hold int, which is no settings object; give a mapping such as .* TrainSettings"),
        ([[{"seed": 1}]], "settings hold list"),
        ({"train": {"steps": 5}, "train.steps": 6},
         r"train\.steps is given twice .*: 5 \(in 'train'\) and 6 \(as 'train\.steps'\); give it once"),
        ([TrainSettings(steps=5), {"train.steps": "6"}], r"5 \(in TrainSettings\) and 6 \(as 'train\.steps'\)"),
        ([RunSettings(out="x"), {"out": "y"}], r"out is given twice .*'x' \(in RunSettings\) and 'y' \(as 'out'\)"),
        ({"evaluation": {"suite": "attacks"}, "evaluation.suite": "clean"}, r"\('attacks',\) .* and \('clean',\)"),
    ],
)  # fmt: skip
def test_settings_that_contradict_or_are_none_are_refused(given, message):
    with pytest.raises(SettingsError, match=message) as caught:
        resolve(given)
    assert "\n" not in str(caught.value)


def test_a_file_may_not_contradict_itself_and_is_overridden(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("train: {steps: 5}\ntrain.steps: 6\n")
    with pytest.raises(SettingsError, match=r"given twice with different values \(file run\.yaml\): 5 .* and 6"):
        resolve(BASE, file)
    file.write_text("train: {steps: 5}\nnoise:\n")
    assert resolve([BASE, TrainSettings(steps=6)], file).settings.train.steps == 6


def test_the_settings_classes_are_public():
    import noisystudent

    for kind in (RunSettings, *section_classes(RunSettings).values()):
        assert getattr(noisystudent, kind.__name__) is kind
        assert kind.__name__ in noisystudent.__all__


# ---------------------------------------------------------------- the settings that each command uses

VALUES = {**flatten(RunSettings(labeled="a", unlabeled="b", out="c").model_dump()), "recipe": "paper"}
VALUES |= {
    "validation": "v",
    "test": "t",
    "evaluation.suite": ["clean"],
    "distillation.method": "kd",
    "noise.teacher": True,
}


@pytest.mark.parametrize("command", USED)
def test_a_command_takes_the_settings_that_it_uses_and_refuses_all_others(command):
    for name in ALL_SETTINGS:
        if name in USED[command]:
            resolve_one(command, name, VALUES[name])
            continue
        with pytest.raises(SettingsError) as caught:
            resolve_one(command, name, VALUES[name])
        message = str(caught.value)
        assert f"does not use {name}, which " in message
        users = re.sub(r" \([^)]*\)", "", message.split(", which ")[1].split(" use")[0])
        assert re.split(", | and ", users) == [other for other in USED if name in USED[other]]


def test_every_setting_is_used_by_some_command_and_recipes_are_never_refused():
    assert set().union(*USED.values()) == set(ALL_SETTINGS)
    for command in ("run", "plan", "train", "distill"):
        recipe = "paper" if command != "distill" else "ensemble"
        assert resolve({**BASE, "recipe": recipe}, command=command).settings.recipe == recipe
        assert resolve(BASE, command=command).explicit == set(BASE)


@pytest.mark.parametrize(
    ("command", "given", "message"),
    [
        ("label", {"data.size": 64, "data.near_duplicates": "none", "data.streaming": "never"},
         "label does not use data.size, which run, plan, check, study, train, pretrain, distill and show-noise use; or "
         "data.near_duplicates, which run, plan, check, study, train, pretrain, distill and fix use; or data.streaming,"
         " which run, plan, check, study, train, pretrain and distill use. Leave them out."),
        ("evaluate", {"data.size": 8},
         "evaluate does not use data.size, which run, plan, check, study, train, pretrain, distill and show-noise use. "
         "Leave it out."),
        ("evaluate", TrainSettings(steps=5),
         "evaluate does not use train.steps, which run, plan, study, train and distill use. Leave it out."),
        ("evaluate", {"evaluation.suite": ["clean"]},
         "evaluate does not use evaluation.suite, which run, plan, study, distill, robustness (evaluate --suite) and "
         "compare use. Leave it out."),
        ("select", {"train": {"steps": 5}},
         "select does not use train.steps, which run, plan, study, train and distill use. Leave it out."),
        ("label", {"seed": 3}, "label does not use seed, which run, plan, check, train, pretrain, distill and fix use. "
         "Leave it out. In label, the seed is the option --seed."),
        ("train", {"train.warm_start": True},
         "train does not use train.warm_start, which run, plan and study use. Leave it out."),
        ("run", {"distillation.teachers": ["x"]},
         "run does not use distillation.teachers, which distill uses. Leave it out. In run, model.teacher and "
         "model.students name the models."),
        ("distill", ModelSettings(teacher="wrn_28_2"),
         "distill does not use model.teacher, which run, plan, study, train and pretrain use. Leave it out. In "
         "distill, --teacher and --student name the models."),
    ],
)  # fmt: skip
def test_a_refused_setting_is_named_with_the_commands_that_use_it(command, given, message):
    with pytest.raises(SettingsError) as caught:
        section_settings(DataSettings, "data", given, command=command)
    assert str(caught.value) == message


def test_a_setting_of_a_file_is_refused_alike(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("rounds: {count: 2}\ntrain: {steps: 5}\n")
    assert resolve(BASE, file, command="run").settings.rounds.count == 2
    with pytest.raises(
        SettingsError, match=r"train does not use rounds\.count \(file run\.yaml\), which run, plan and study"
    ):
        resolve(BASE, file, command="train")


@pytest.mark.parametrize(
    ("command", "given", "switch"),
    [
        ("label", {"noise.flip": True}, {"noise.teacher": True}),
        ("run", {"evaluation.seed": 1, "evaluation.norm": "l2"}, {"evaluation.suite": ["attacks"]}),
        ("distill", {"evaluation.seed": 1}, {"evaluation.suite": ["attacks"]}),
        ("robustness", {"evaluation.seed": 1}, {"evaluation.suite": ["attacks"]}),
        ("run", {"distillation.temperature": 2.0}, {"distillation.method": "kd"}),
        ("run", {"distillation.temperature": 2.0}, {"distillation.preset": "paper:hinton2015"}),
    ],
)
def test_settings_that_another_one_switches_on_need_it(command, given, switch):
    base = BASE if "out" in USED[command] else {}
    check = lambda *parts: section_settings(NoiseSettings, "noise", [base, *parts], command=command)  # noqa: E731
    names = " and ".join(sorted(given))
    message = rf"{re.escape(names)} only with {next(iter(switch)).split('.')[0]}\..*leave (it|them) out"
    if base:
        check = lambda *parts: resolve([base, *parts], command=command)  # noqa: E731
    with pytest.raises(SettingsError, match=message):
        check(given)
    check(given, switch)
    check(switch)


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("command", USED)
def test_help_offers_exactly_the_settings_that_the_command_uses(command, capsys):
    if command == "evaluate":  # its options are those of robustness too
        return
    assert main([HELP_OF.get(command, command), "--help", "all"]) == 0
    shown = set(re.findall(r"^  --([\w.]+)", capsys.readouterr().out, re.MULTILINE)) & set(ALL_SETTINGS)
    own = {"seed", "out"} if "out" not in USED[command] else set()  # options of its own with the same names
    assert shown - own == USED[command]


def test_help_groups_settings_by_section_with_choices_and_defaults(capsys):
    assert main(["run", "--help", "all"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: noisystudent run [SOURCE ...] [options]\n")
    for section in section_classes(RunSettings):
        assert re.search(rf"^{section}:\n  \w", text, re.MULTILINE), section
    flat = " ".join(text.split())
    assert "--data.channels {auto,gray,rgb}" in flat
    assert "--noise.crop {auto,resized,pad,window,none}" in flat
    assert "--runtime.channels_last {true,false,auto}" in flat
    assert "--noise.strength auto|X" in flat
    assert re.search(r"--train\.steps N [^-]*\(default 1200\)", flat)
    assert re.search(r"--noise\.flip \{true,false\} [^{]*\(default false\)", flat)
    assert re.search(r"--noise\.strengths X,\.\.\. [^{]*\(default 0\.25,0\.5,1\)", flat)
    assert main(["label", "--help"]) == 0
    assert capsys.readouterr().out.startswith(
        "usage: noisystudent label --teacher CHECKPOINT --source SOURCE --out FOLDER [options]\n"
    )


@pytest.mark.parametrize(
    "command", ["run", "plan", "train", "pretrain", "distill", "fix", "label", "predict", "evaluate"]
)
def test_help_without_a_topic_fits_a_screen_and_names_the_topics(command, capsys):
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 45
    assert all(len(line) <= 80 for line in text.splitlines() if "noisystudent" not in line)
    used = USED["robustness" if command == "evaluate" else command]
    sections = {name.rpartition(".")[0] or "sources" for name in used}
    topics = text.split("with --help TOPIC:\n")[1].replace("\n", " ").split(", ")
    assert {topic.strip() for topic in topics} == sections | {"all"}


def test_help_on_a_topic_has_the_settings_of_its_section(capsys):
    assert main(["run", "--help", "rounds"]) == 0
    shown = set(re.findall(r"^  --([\w.]+)", capsys.readouterr().out, re.MULTILINE))
    assert shown == {name for name in USED["run"] if name.startswith("rounds.")}
    assert main(["run", "--help", "round"]) == 2
    assert "Did you mean 'rounds'?" in capsys.readouterr().err


def test_help_shows_the_defaults_of_the_command_s_own_recipe(capsys):
    assert default_values("run")["noise.strength"] == "auto"
    assert default_values("distill")["noise.strength"] == 0.25
    assert main(["distill", "--help", "all"]) == 0
    assert "(default distillation)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_uses_the_words_of_the_field(command, capsys):
    assert main([command, "--help", "all"] if command else ["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert re.findall(OLD_WORDS, text, re.IGNORECASE) == []
