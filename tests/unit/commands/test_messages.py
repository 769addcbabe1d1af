"""What the command line says of mistakes: the thing, the value, what is allowed, what to do, in plain words."""

import re
import sys

import pytest

from noisystudent.allowed_values import allowed_values
from noisystudent.commands.main import main
from noisystudent.config import ALL_SETTINGS

RUN = ["run", "photos/labeled", "photos/unlabeled"]
MESSAGES = [
    # what is typed, and what is said
    (
        ["run"],
        "run needs labeled images, a folder with one folder per class: noisystudent run photos/labeled photos/un",
    ),
    (["run", "a"], "run needs unlabeled images, too: noisystudent run photos/labeled photos/unlabeled"),
    (["train"], "train needs labeled images, a folder with one folder per class: noisystudent train photos/labeled."),
    (["predict"], "predict needs RUN, FILE_OR_FOLDER: noisystudent predict RUN FILE_OR_FOLDER."),
    (["open"], "open needs FOLDER: noisystudent open FOLDER."),
    (
        ["label", "--teacher", "t"],
        "label needs --source, --out: noisystudent label --teacher CHECKPOINT --source SOURCE",
    ),
    ([*RUN, "--out"], "--out needs a value. 'noisystudent run --help' lists the options."),
    ([*RUN, "--verify=3"], "--verify takes no value, and '3' is given; leave it out."),
    (["predict", "r", "p", "--top", "x"], "--top is 'x'; give a whole number."),
    (["predict", "r", "p", "--min-confidence", "x"], "--min-confidence is 'x'; give a number."),
    (["completion", "tcsh"], "shell is 'tcsh'; give one of 'bash', 'zsh', 'fish'."),
    (["rnu"], "unknown command 'rnu'; there are demo, run,"),
    (["rnu"], "Did you mean 'run'?"),
    # options that there are not
    ([*RUN, "--epoch", "3"], "unknown option '--epoch'. Did you mean '--epochs'?"),
    ([*RUN, "--batch-size", "3"], "Did you mean '--train.batch_size'?"),
    ([*RUN, "--learning-rate", "3"], "Did you mean '--train.learning_rate'?"),
    ([*RUN, "--device", "cpu"], "Did you mean '--runtime.device'?"),
    ([*RUN, "--seeds", "3"], "Did you mean '--seed'?"),
    ([*RUN, "--rounds", "3"], "--rounds is a section, not an option; give a setting of it, such as --rounds.count."),
    ([*RUN, "--train=3"], "--train is a section, not an option; give a setting of it, such as --train.steps."),
    ([*RUN, "-v"], "unknown option '-v'. 'noisystudent run --help all' lists all options."),
    ([*RUN, "--gpu", "0"], "unknown option '--gpu'. 'noisystudent run --help all' lists all options."),
    (["predict", "r", "p", "q"], "'q' stands without an option; leave it out."),
    (
        ["evaluate", "q", "--checkpoint", "c", "--source", "s"],
        "'q' stands without an option; give it with its option, such as --checkpoint.",
    ),
    # values that settings do not allow
    ([*RUN, "--runtime.device", "gpu"], "runtime.device (from arguments: 'gpu'): give auto, cpu, cuda, cuda:N or mps."),
    ([*RUN, "--noise.crop", "Resized"], "give auto, resized, pad, window or none. Did you mean 'resized'?"),
    ([*RUN, "--noise.strength", "strong"], "(from arguments: 'strong'): give auto or a number from 0 to 2."),
    ([*RUN, "--noise.strengths", "a,b"], "give a number from 0 to 2, or several of these with commas between them."),
    ([*RUN, "--steps", "many"], "setting train.steps (from arguments: 'many'): give a whole number of at least 1."),
    ([*RUN, "--steps", "-3"], "setting train.steps (from arguments: -3): give a whole number of at least 1."),
    ([*RUN, "--lr", "0"], "setting train.learning_rate (from arguments: 0): give a number above 0."),
    ([*RUN, "--noise.flip", "maybe"], "setting noise.flip (from arguments: 'maybe'): give true or false."),
    ([*RUN, "--size", "24.5"], "(from arguments: 24.5): give auto or a whole number from 8 to 4096."),
    ([*RUN, "--model.tune", "none"], "give auto, all or head or last:N, the number of the last blocks to train"),
    ([*RUN, "--evaluation.suite", "corruption"], "Did you mean 'corruptions'?"),
    (
        [*RUN, "--noise.operations", "foo"],
        "setting noise.operations (from arguments: ('foo',)): 'foo' is not an operation of policy graded.",
    ),
    ([*RUN, "--budget", "15"], "'15' is no duration; write numbers with a unit (s, m, h, d), such as 15m or 1h30m."),
    ([*RUN, "--log", "wandb"], "setting runtime.log (from arguments: 'wandb'): give none or tensorboard."),
    ([*RUN, "--steps", "x", "--seed", "y"], "at least 0; setting train.steps (from arguments: 'x'): give a whole"),
    ([*RUN, "--config", "gone.yaml"], "the settings file gone.yaml does not exist."),
]
# Words of argparse and pydantic, which a user of this program never chose.
FOREIGN = r"input should|string should|unable to|validation|arguments are required|invalid|metavar|VERB|traceback"


@pytest.mark.parametrize(("typed", "said"), MESSAGES, ids=[" ".join(typed) for typed, _ in MESSAGES])
def test_a_mistake_is_said_in_plain_words(typed, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "noisystudent.pipeline.noisy_student", None)  # mistakes are said before it loads
    assert main(typed) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert said in message
    assert not re.search(FOREIGN, message, re.IGNORECASE)
    assert len(message) < 400
    assert not list(tmp_path.iterdir())


def test_a_misspelled_folder_is_named_with_its_path(tmp_path, monkeypatch, capsys):
    (tmp_path / "photos" / "labeled").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert main(["pack", "photos/lableed", "out"]) == 1
    assert "There is no source 'photos/lableed'. Did you mean 'photos/labeled'?" in capsys.readouterr().err


@pytest.mark.parametrize("typed", [["help", "open"], ["open", "help"], ["open", "-h"], ["open", "--help"]])
def test_help_of_a_command_is_found_in_every_way(typed, capsys):
    assert main(typed) == 0
    assert capsys.readouterr().out.startswith("usage: noisystudent open FOLDER")


@pytest.mark.parametrize("name", ALL_SETTINGS)
def test_what_a_setting_allows_can_be_said(name):
    text = allowed_values(ALL_SETTINGS[name])
    assert text
    assert not re.search(r"typing|<class|Literal|None|\bor or\b|,,|  ", text)
