"""The command on the page repeats the run: pasted into a shell in an empty folder, it gives the same models."""

import html
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import noisystudent
from noisystudent.commands.main import main
from noisystudent.results.run import Cost
from small_runs import DIGITS, SMALL, weights


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A folder with a blank and a quote in its name, with labeled, unlabeled and test images."""
    root = tmp_path_factory.mktemp("images") / "Ann's images"
    random = np.random.default_rng(0)
    for part, count in (("labeled/a cat", 6), ("labeled/dog", 6), ("test/a cat", 3), ("test/dog", 3), ("unlabeled", 9)):
        (root / part).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(root / part / f"{i}.png")
    return root


def shown_command(folder: Path) -> str:
    page = (folder / "report.html").read_text()
    section = page.split('<section id="repeat"', 1)[1]
    return html.unescape(re.search(r"<pre><code>(.*?)</code></pre>", section, re.DOTALL)[1])


def test_the_command_of_the_page_gives_the_same_models_in_an_empty_folder(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    settings = "train: {steps: 3, batch_size: 8}\nrounds: {count: 1}\nnoise: {strengths: [0.1, 0.5], flip: true}\n"
    (photos / "my settings.yaml").write_text(settings)
    words = ["--labeled=labeled", "--unlabeled=unlabeled", "--test=test", "--config=my settings.yaml", "--seed=3"]
    assert main(["run", *words, f"--out={tmp_path / 'first'}", "--recipe=curriculum"]) == 0
    (photos / "my settings.yaml").unlink()
    command = shown_command(tmp_path / "first")
    assert "my settings" not in command
    empty = tmp_path / "empty"
    empty.mkdir()
    shell = f"noisystudent() {{ '{sys.executable}' -m noisystudent \"$@\"; }}; {command}"
    environment = {**os.environ, "PYTHONPATH": str(Path(noisystudent.__file__).parents[1])}
    subprocess.run(["sh", "-c", shell], cwd=empty, env=environment, check=True, capture_output=True)
    assert [path.name for path in empty.iterdir()] == ["first-again"]
    for name in ("strength/0.5-fold-2", "teacher", "round-1/student", "best"):
        assert weights(empty / "first-again" / name) == weights(tmp_path / "first" / name)
    first, again = (noisystudent.open_run(path) for path in (tmp_path / "first", empty / "first-again"))
    for summary in (first.summary, again.summary):
        assert summary.cost.seconds > 0
    assert _without_times(again) == _without_times(first)


def _without_times(run: noisystudent.Run) -> object:
    summary = run.summary
    models = {"teacher": summary.teacher, "control": summary.control, "student": summary.student}
    timeless = {name: replace(model, seconds=0) for name, model in models.items()}
    rounds = tuple(replace(model, seconds=0) for model in summary.rounds)
    return replace(summary, **timeless, rounds=rounds, cost=Cost())


def test_a_distillation_repeats_with_its_teachers(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick = {"train.steps": 3, "train.batch_size": 8}
    noisystudent.train(photos / "labeled", out="a teacher", settings={**quick, "noise.strength": 0.2}, quiet=True)
    first = noisystudent.distill(
        teacher="a teacher", student="tiny_resnet", labeled=photos / "labeled", out="small", settings=quick, quiet=True
    )
    words = shlex.split(shown_command(first.path))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert main(words[1:]) == 0
    assert weights(Path("small-again/best")) == weights(tmp_path / "small/best")


def test_parts_of_ones_own_are_said_to_be_missing_from_the_command(tmp_path):
    def every_second(rows):
        return np.arange(len(rows.keys)) % 2

    settings = {**SMALL, "rounds.count": 1, "rounds.controls": 0, "train.steps": 1}
    noisystudent.run(**DIGITS, out=tmp_path, select=every_second, settings=settings, quiet=True)
    section = (tmp_path / "report.html").read_text().split('<section id="repeat"', 1)[1]
    assert "Repeat it in Python with them" in section
    assert "every_second" in section
    assert "This command repeats the run" not in section
