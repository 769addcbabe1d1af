"""Whole runs under torchrun with two processes on the CPU: the same story as one process tells."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from noisystudent.artifacts.folder import verify
from noisystudent.pseudo_labels import predictions
from noisystudent.training.state import STATE

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
        assert summaries[0][name]["samples_seen"] == summaries[1][name]["samples_seen"]
    assert (together / "report.html").exists()


def test_every_image_is_labeled_and_scored_once(alone, together):
    keys, values = zip(*(predictions.read_all(f / "round-1/predictions", 10) for f in (alone, together)), strict=True)
    assert keys[0] == keys[1]
    assert len(set(keys[1])) == 1257
    np.testing.assert_allclose(np.exp(values[0]), np.exp(values[1]), atol=0.01)
    for name in ("teacher", "control", "round-1"):
        scores = json.loads((together / "scores" / name / "scores.json").read_text())
        assert scores["test"]["count"] == 500
        assert verify(together / "scores" / name, "scores").files


def test_a_killed_process_is_started_again_and_no_bit_changes(together, tmp_path):
    """Exact, since there are two: what they average is the sum of two numbers, whichever of them comes first."""
    launcher = [*TORCHRUN, "--max-restarts=1"]
    process = subprocess.Popen(command(tmp_path, *launcher), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "teacher" / STATE).exists():
        assert process.poll() is None
        time.sleep(0.01)
    first, _ = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(first), signal.SIGKILL)
    printed, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert f"exitcode: -9) local_rank: 0 (pid: {first})" in said
    assert printed.count("model: ") == 1
    for path in sorted(together.rglob("model.safetensors")):
        assert (tmp_path / path.relative_to(together)).read_bytes() == path.read_bytes(), path
