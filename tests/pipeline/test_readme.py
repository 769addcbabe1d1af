"""Every command of the README and every shipped settings file runs, a few steps long, on generated images."""

import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import noisystudent
from noisystudent.commands import demo as demo_module
from noisystudent.commands.demo import demo, print_demo
from noisystudent.commands.main import main
from noisystudent.config import read_yaml, resolve

ROOT = Path(__file__).parents[2]
QUICK = ["--train.steps=2", "--train.batch_size=8", "--noise.strength=0.5", "--rounds.count=1"]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The folders that the README speaks of, in the current folder."""
    random = np.random.default_rng(0)
    for part, count in (("labeled/cat", 4), ("labeled/dog", 4), ("test/cat", 3), ("test/dog", 3), ("unlabeled", 12)):
        folder = tmp_path / "photos" / part
        folder.mkdir(parents=True)
        for i in range(count):
            Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def commands_of(page: str) -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("noisystudent ")]


def test_every_command_of_the_readme_runs(photos, capsys):
    commands = commands_of("README.md")
    assert {words[0] for words in commands} >= {
        "run",
        "plan",
        "predict",
        "train",
        "label",
        "select",
        "evaluate",
        "compare",
        "report",
        "distill",
    }
    for words in commands:
        quick = QUICK if words[0] in ("run", "plan", "train", "distill") else []
        assert main([*words, *quick]) == 0, capsys.readouterr().err


def test_every_command_of_the_page_on_distillation_runs(photos, capsys):
    for words in commands_of("docs/distillation.md"):
        assert main([*words, *QUICK]) == 0, capsys.readouterr().err


def test_the_python_of_the_readme_runs(photos, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    run = noisystudent.run
    quick = {"train.batch_size": 8, "rounds.count": 1, "noise.strength": 0.5, "train.steps": 2}
    short = lambda settings, **splits: run(**splits, settings={**settings, **quick}, quiet=True)  # noqa: E731
    monkeypatch.setattr(noisystudent, "run", short, raising=False)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip() in ("keep", "roll back", "cannot tell")


def test_the_verbs_take_the_same_words_from_python(photos, tmp_path):
    out = tmp_path / "out"
    quick = {"train.steps": 2, "train.batch_size": 8, "noise.strength": 0.5}
    noisystudent.train(labeled=photos / "labeled", out=out / "teacher", settings=quick, quiet=True)
    noisystudent.label(teacher=out / "teacher", source=photos / "unlabeled", out=out / "predictions", quiet=True)
    chosen = noisystudent.select(predictions=out / "predictions", out=out / "selection", round=2)
    assert chosen["rows"] == 12
    noisystudent.train(
        labeled=str(photos / "labeled"), unlabeled=str(photos / "unlabeled"), predictions=str(out / "predictions"),
        selection=str(out / "selection"), out=str(out / "student"), settings=quick, quiet=True,
    )  # fmt: skip
    scores = noisystudent.evaluate(checkpoint=out / "student", source=photos / "test", out=out / "scores.json")
    assert json.loads((out / "scores.json").read_text())["count"] == scores["count"] == 6
    assert noisystudent.predict(checkpoint=out / "student", source=photos / "test", out=out / "a.csv", quiet=True) == []
    assert len((out / "a.csv").read_text().splitlines()) == 7


def test_the_scripts_of_the_readme_exist():
    for name in re.findall(r"^scripts/\w+", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert (ROOT / name).stat().st_mode & 0o100


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_settings_file_runs_two_steps(path, photos, capsys):
    assert read_yaml(path)
    splits = ["--labeled=photos/labeled", "--unlabeled=photos/unlabeled", "--test=photos/test", "--out=runs/x"]
    small = ["--data.size=32", "--selection.threshold=0.01"]
    assert main(["run", f"--config={path}", *splits, *QUICK, *small]) == 0, capsys.readouterr().err
    assert "file " + path.name in resolve({"labeled": "a", "out": "b"}, path).origins.values()


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_demo_runs_and_is_honest(tmp_path, monkeypatch, capsys, seeds):
    short = {**demo_module.SETTINGS, "train.steps": 2, "rounds.count": 1, "data.size": 8}
    monkeypatch.setattr(demo_module, "SETTINGS", short)
    result = demo(out=str(tmp_path / "demo"), seeds=seeds, quiet=True)
    print_demo(result)
    printed = capsys.readouterr().out
    assert len(result.summaries) == seeds
    for name in ("logistic regression", "self-training", "label spreading"):
        assert name in printed
        assert result.summaries[0]["baselines"]
    if seeds > 1:
        # Two steps teach nothing, and the demo has to say so.
        assert "does not beat" in printed
        assert "Not so in seed 0" in printed
    else:
        assert str(tmp_path / "demo" / "report.html") in printed
    assert all((folder / "report.html").exists() for folder in result.folders)


@pytest.mark.slow
def test_labeling_takes_the_same_memory_for_four_times_the_images(tmp_path):
    rows, chart = tmp_path / "rows.json", tmp_path / "memory.svg"
    words = [sys.executable, str(ROOT / "benchmarks" / "memory.py"), "--quick", "--json", str(rows)]
    subprocess.run([*words, "--plot", str(chart)], check=True)
    measured = json.loads(rows.read_text())
    assert len(measured) == 3
    assert all(row["ratio"] < 1.2 for row in measured), measured
    names = {each.text for each in ElementTree.parse(chart).iter("{http://www.w3.org/2000/svg}text")}
    assert {"label a folder", "label tar shards", "1,000", "4,000"} <= names


@pytest.mark.slow
def test_the_benchmark_of_workers_runs_and_both_make_the_same_bytes(tmp_path):
    rows = tmp_path / "rows.json"
    words = [sys.executable, str(ROOT / "benchmarks" / "workers.py"), "--quick", "--json", str(rows)]
    subprocess.run(words, check=True)
    (row,) = json.loads(rows.read_text())
    assert row["name"] == "label: two workers"


@pytest.mark.slow
def test_the_benchmark_of_decoding_runs(tmp_path):
    rows = tmp_path / "rows.json"  # a process of its own: timm's loader forks
    words = [sys.executable, str(ROOT / "benchmarks" / "decode.py"), "--quick", "--json", str(rows)]
    subprocess.run(words, check=True)
    names = [row["name"].rsplit(", ", 1)[1] for row in json.loads(rows.read_text())]
    assert names == ["first epoch", "later epochs", "10 epochs"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["selection.py", "near_duplicates.py", "label_size.py", "whole.py"])
def test_benchmarks_that_need_no_data_run(monkeypatch, tmp_path, name):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setattr(sys, "argv", [name, "--quick", "--json", str(tmp_path / name)])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(ROOT / "benchmarks" / name), run_name="__main__")
    rows = json.loads((tmp_path / name).read_text())
    assert rows
    assert all(row["machine"] and row["value"] >= 0 for row in rows)


@pytest.mark.slow
def test_benchmarks_run(monkeypatch, capsys, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    quick = (
        ["trainer.py"],
        ["teaching.py"],
        ["snapshot.py"],
        ["few_labels.py", "sign-digits"],
        ["ablation.py", "fashion"],
        ["distillation.py"],
    )
    for words in quick:
        monkeypatch.setattr(sys, "argv", [*words, "--quick", "--json", str(tmp_path / words[0])])
        with pytest.raises(SystemExit, match="0"):
            runpy.run_path(str(ROOT / "benchmarks" / words[0]), run_name="__main__")


@pytest.mark.slow
def test_the_benchmark_of_robustness_runs(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    words = ["robustness.py", "digits", "--quick", "--json", str(tmp_path / "rows.json"), "--plot", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(ROOT / "benchmarks/robustness.py"), run_name="__main__")
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    control = rows["digits, 4 labels a class: control: accuracy, clean"]
    assert 0 <= control["value"] <= 1
    assert control["difference"] == 0
    assert len(list(tmp_path.glob("digits-*.svg"))) == 4


@pytest.mark.slow
def test_the_benchmark_of_streaming_runs(tmp_path):
    pytest.importorskip("webdataset")
    rows = tmp_path / "rows.json"  # a process of its own: it keeps itself to one core
    words = [sys.executable, str(ROOT / "benchmarks" / "streaming.py"), "--quick", "--json", str(rows)]
    subprocess.run(words, check=True)
    assert [row["ratio"] > 0 for row in json.loads(rows.read_text())] == [True, True, True]
