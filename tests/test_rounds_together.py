"""Whole runs under torchrun with two processes on the CPU: the same story as one process tells."""

import json
import subprocess
import sys

import numpy as np
import pytest

from noisystudent import predictions
from noisystudent.artifacts import verify

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SETTINGS = {
    "data.near_duplicates": "none",
    "train.steps": 40,
    "train.batch_size": 32,
    "train.optimizer": "sgd",  # with AdamW, or at a high rate, rounding errors grow into differences
    "train.learning_rate": 0.002,
    "train.save_every": 0.0001,
    "rounds.count": 1,
    "noise.strength": 0.25,
    "noise.dropout": 0,  # each process draws model noise for itself
    "noise.stochastic_depth": 0,
    "model.teacher": "tiny_resnet",
    "runtime.threads": 1,
}
pytestmark = pytest.mark.slow


def command(out, *launcher: str) -> list[str]:
    launcher = launcher or (sys.executable,)
    words = ["-m", "noisystudent", "run", "--labeled", "digits:labeled", "--unlabeled", "digits:unlabeled"]
    options = [f"--{name}={value}" for name, value in SETTINGS.items()]
    return [*launcher, *words, "--test", "digits:test", "--out", str(out), *options]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run(command(folder), check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    subprocess.run(command(folder, *TORCHRUN), check=True, capture_output=True)
    return folder


def test_two_processes_come_to_what_one_comes_to(alone, together):
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (alone, together)]
    for name in ("teacher", "control", "student"):
        tops = [summary[name]["test"]["top1"] for summary in summaries]
        assert tops[0] == pytest.approx(tops[1], abs=0.01)
        assert summaries[0][name]["passes"] == summaries[1][name]["passes"]
    assert (together / "report.html").exists()


def test_every_picture_is_labeled_and_scored_once(alone, together):
    keys, values = zip(*(predictions.read_all(f / "round-1/predictions", 10) for f in (alone, together)), strict=True)
    assert keys[0] == keys[1]
    assert len(set(keys[1])) == 1257
    np.testing.assert_allclose(np.exp(values[0]), np.exp(values[1]), atol=0.01)
    for name in ("teacher", "control", "round-1"):
        scores = json.loads((together / "scores" / name / "scores.json").read_text())
        assert scores["test"]["count"] == 500
        assert verify(together / "scores" / name, "scores").files
