"""Short ways to say settings: sources without options, short names, a file that is written."""

import pytest
import yaml

from noisystudent.commands.main import main
from noisystudent.commands.options import with_settings
from noisystudent.commands.parser import _EXAMPLES, Parser
from noisystudent.commands.write_config import config_text
from noisystudent.config import resolve
from noisystudent.errors import SettingsError


def parsed(*words, command="run"):
    given = with_settings(Parser(command, "A command."), list(words), command)
    return {name: value for name, value in given.items() if value is not None}


def test_nothing_but_settings_and_own_options_is_given():
    given = with_settings(Parser("run", "A command."), [], "run")
    assert given == {"config": None}


def test_sources_need_no_options():
    assert parsed("a", "b", "c") == {"labeled": "a", "unlabeled": "b", "test": "c"}
    assert parsed("a", "--steps", "5", "b") == {"labeled": "a", "unlabeled": "b", "train.steps": "5"}
    assert parsed("a", "--unlabeled", "b") == {"labeled": "a", "unlabeled": "b"}
    assert parsed("a", command="train") == {"labeled": "a"}


def test_short_names_stand_for_settings():
    words = ("--size", "32", "--lr", "0.01", "--epochs", "3", "--student", "resnet18", "--backbone", "auto")
    words += ("--tune", "head", "--baselines", "true")
    assert parsed(*words) == {
        "model.tune": "head",
        "rounds.baselines": "true",
        "data.size": "32",
        "train.learning_rate": "0.01",
        "train.epochs": "3",
        "head.student": "resnet18",
        "model.backbone": "auto",
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("a", "b", "c", "d"),
            r"4 sources are given without an option \(a, b, c, d\), and the command takes at most 3",
        ),
        (("a", "--labeled", "b"), "labeled is given twice, 'a' without an option and 'b' with --labeled"),
        (("--steps", "3", "--train.steps", "4"), "--steps is short for --train.steps, and both are given"),
        (("a", "--stpes", "3"), "unknown option '--stpes'. Did you mean '--steps'?"),
        (("a", "b", "--nonsense"), "unknown option '--nonsense'"),
    ],
)
def test_what_cannot_be_meant_is_said(words, message):
    with pytest.raises(SettingsError, match=message):
        parsed(*words)


def test_a_command_for_one_source_takes_one():
    with pytest.raises(SettingsError, match=r"the command takes one \(labeled\)"):
        parsed("a", "b", command="train")


@pytest.mark.parametrize("command", ["run", "train", "distill", "pretrain"])
def test_a_written_file_reads_as_what_was_given_and_its_comments_as_the_defaults(command, tmp_path):
    text = config_text({"unlabeled": "b"}, command)
    assert yaml.safe_load(text) == {"unlabeled": "b"}
    defaults = "\n".join(line.replace("# ", "", 1) for line in text.splitlines()[2:])
    file = tmp_path / "all.yaml"
    file.write_text(defaults.replace("labeled: ''", "labeled: a", 1))
    settings = resolve({}, file, command=command).settings
    assert settings == resolve({"labeled": "a", "unlabeled": "b", "out": "runs/NAME-1"}, command=command).settings


def test_the_command_writes_the_file_and_does_nothing_else(tmp_path, capsys):
    file = tmp_path / "run.yaml"
    words = [
        "run",
        "no-such-folder",
        "nor-this",
        "--steps",
        "7",
        "--noise.strength",
        "0.5",
        "--write-config",
        str(file),
    ]
    assert main(words) == 0
    assert f"noisystudent run --config {file}" in capsys.readouterr().out
    assert yaml.safe_load(file.read_text()) == {
        "labeled": "no-such-folder",
        "unlabeled": "nor-this",
        "noise": {"strength": 0.5},
        "train": {"steps": 7},
    }
    assert main(words) == 2
    assert "exists; it is not overwritten" in capsys.readouterr().err


def test_a_file_of_settings_that_are_not_valid_is_not_written(tmp_path, capsys):
    file = tmp_path / "run.yaml"
    assert main(["run", "a", "b", "--steps", "-7", "--write-config", str(file)]) == 2
    assert "train.steps" in capsys.readouterr().err
    assert not file.exists()


def test_the_help_of_an_own_option_is_its_own_and_hidden_options_stay_hidden(capsys):
    assert main(["predict", "--help"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "--out FILE table with file, class, confidence and problem" in printed
    assert "--labeled" not in printed
    assert "--budget" not in printed


@pytest.mark.parametrize(("command", "example"), [(name, one) for name, all in _EXAMPLES.items() for one in all])
def test_the_examples_of_the_help_are_understood(command, example, tmp_path, capsys):
    words = example.split()[1:]
    assert words[0] == command
    if command == "check":
        assert with_settings(Parser("check", "A command."), words[1:], "check")["test"] == "photos/test"
        return
    assert main([*words, "--write-config", str(tmp_path / "given.yaml")]) == 0
    assert yaml.safe_load((tmp_path / "given.yaml").read_text())


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (("distill", "a", "b", "--teacher", "runs/x", "--student", "resnet18"),
         {"distillation": {"teachers": ["runs/x"], "students": ["resnet18"]}}),
        (("pretrain", "b", "--model", "resnet18"), {"model": {"teacher": "resnet18"}}),
        (("study", "rounds", "--labeled", "a", "--unlabeled", "b", "--test", "c"), {"test": "c"}),
    ],
)  # fmt: skip
def test_a_written_file_keeps_what_own_options_stand_for(words, kept, tmp_path, capsys):
    file = tmp_path / "given.yaml"
    assert main([*words, "--write-config", str(file)]) == 0
    assert kept.items() <= yaml.safe_load(file.read_text()).items()
    begin = "study rounds" if words[0] == "study" else words[0]
    assert f"noisystudent {begin} --config {file}" in capsys.readouterr().out


def test_what_a_file_of_settings_cannot_keep_is_refused(tmp_path, capsys):
    file = tmp_path / "given.yaml"
    assert main(["run", "a", "b", "--start", "runs/x", "--verify", "--write-config", str(file)]) == 2
    assert "keeps settings alone; leave out --start and --verify here" in capsys.readouterr().err
    assert not file.exists()


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("train", "SOURCE short for --labeled"),
        ("pretrain", "SOURCE short for --unlabeled"),
        ("distill", "of several, each learns from the one before"),
        ("fix", "--size auto|N short for --fix.size"),
        ("evaluate", "score at these sizes of the input as well"),
        ("check", "--labeled SOURCE labeled images"),
    ],
)
def test_the_short_help_says_what_an_option_means_in_its_command(command, text, capsys):
    assert main([command, "--help"]) == 0
    assert text in " ".join(capsys.readouterr().out.split())
