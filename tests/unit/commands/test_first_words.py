"""What a command says before torch is loaded, which takes seconds."""

import subprocess
import sys

import pytest

from noisystudent.commands.main import COMMANDS, _again, main

# Ends each command where it would load torch, and tells that it got there.
_STOPPED_AT_TORCH = """
import os, shlex, sys

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("torch", file=sys.stderr, flush=True)
            os._exit(0)

sys.meta_path.insert(0, Stop())
from noisystudent.commands.main import main

for line in sys.stdin:
    print(f"== {line}", end="", file=sys.stderr, flush=True)
    child = os.fork()
    if not child:
        main(shlex.split(line))
        os._exit(0)
    os.waitpid(child, 0)
"""
LOADING = {
    "demo": "",
    "run": "digits:labeled digits:unlabeled",
    "check": "digits:labeled digits:unlabeled",
    "plan": "digits:labeled digits:unlabeled",
    "study": "noise --labeled digits:labeled --unlabeled digits:unlabeled --test digits:test",
    "train": "digits:labeled --out x",
    "pretrain": "digits:unlabeled --out x",
    "distill": "digits:labeled --teacher a --student b --out x",
    "fix": "--labeled digits:labeled --checkpoint x --out y",
    "label": "--teacher x --source digits:unlabeled --out y",
    "evaluate": "--checkpoint x --source digits:test",
    "compare": "a b --source digits:test --out y",
    "predict": "a b",
    "export": "a --to onnx --out y",
    "show-noise": "digits:test",
    "report": "x",
    "doctor": "",
}


@pytest.fixture(scope="module")
def first_words(tmp_path_factory):
    """What every command prints until it loads torch."""
    lines = "".join(f"{command} {words}\n" for command, words in LOADING.items())
    done = subprocess.run(
        [sys.executable, "-c", _STOPPED_AT_TORCH],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path_factory.mktemp("empty"),
    )
    parts = [part.partition("\n") for part in done.stderr.split("== ")[1:]]
    return {head.split()[0]: said.splitlines() for head, _, said in parts}


@pytest.mark.parametrize("command", LOADING)
def test_a_command_says_that_it_runs_before_it_loads_torch(command, first_words):
    assert first_words[command][0] == f"noisystudent {command}: starting (loading torch takes a few seconds)"
    assert first_words[command][-1] == "torch"


def test_nothing_is_said_once_torch_is_loaded_or_for_a_mistake(capsys):
    import torch  # noqa: F401

    assert main(["train", "a", "b"]) == 2
    assert "starting" not in capsys.readouterr().err


def test_the_overview_breaks_between_words_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr("noisystudent.commands.main.terminal_width", lambda file: 80)
    assert main(["--help"]) == 0
    narrow = capsys.readouterr().out
    monkeypatch.undo()
    assert main(["--help"]) == 0
    assert narrow.split() == capsys.readouterr().out.split()
    assert all(len(line) <= 80 for line in narrow.splitlines())
    assert all(f"\n  {command} " in narrow for command in COMMANDS)


@pytest.mark.parametrize(
    ("words", "then"),
    [
        (["run", "a"], "resume"),
        (["evaluate", "--checkpoint", "c", "--suite", "corruptions"], "resume"),
        (["evaluate", "--checkpoint", "c", "--evaluation.suite=attacks"], "resume"),
        (["evaluate", "--checkpoint", "c"], "start over"),
        ([], "start over"),
    ],
)
def test_what_was_stopped_is_told_how_it_goes_on(words, then):
    assert _again(words) == f"run the same command again to {then}."
