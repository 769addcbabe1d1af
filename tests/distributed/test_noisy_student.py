"""Whole runs under torchrun with two processes on the CPU: the same results as one process gives."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from noisystudent import open_run
from noisystudent.artifacts.folder import verify
from noisystudent.pseudo_labels import predictions
from noisystudent.training.state import STATE
from small_runs import DIGITS

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
SETTINGS = {
    **DIGITS,
    "data.near_duplicates": "none",
    "train.steps": 40,
    "train.batch_size": 32,
    "train.optimizer": "sgd",  # with AdamW, or at a high rate, rounding errors grow into differences
    "train.learning_rate": 0.002,
    "train.save_every": 0.0001,
    "rounds.count": 1,
    "selection.neighbors": "mean",  # the main process compares the images, for all
    "noise.strength": 0.25,
    "noise.dropout": 0,  # each process draws model noise for itself
    "noise.stochastic_depth": 0,
    "model.teacher": "tiny_resnet",
    "runtime.threads": 1,
}


def words(out: Path) -> list[str]:
    return ["run", f"--out={out}", *(f"--{name}={value}" for name, value in SETTINGS.items())]


@pytest.fixture(scope="module")
def single(fork_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("single")
    fork_server.run(words(folder))
    return open_run(folder)


@pytest.fixture(scope="module")
def pair(fork_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    command = fork_server.run(words(folder), processes=2)
    assert command.output().count("model: ") == 1
    return open_run(folder)


def test_two_processes_reach_what_one_reaches(single, pair):
    for name in ("teacher", "control", "student"):
        alone, together = (getattr(run, name) for run in (single, pair))
        assert together.test.top1 == pytest.approx(alone.test.top1, abs=0.01)
        assert together.samples_seen == alone.samples_seen
    assert pair.report.exists()


def test_every_image_is_labeled_and_scored_once(single, pair):
    # Of an image whose 15th and 16th neighbor are as near, rounding decides which of them has a say.
    for stage, most_beyond in (("teacher-predictions", 0.0), ("predictions", 0.02)):
        found = [predictions.read_all(run.path / "round-1" / stage, 10) for run in (single, pair)]
        (keys, alone), (keys_of_pair, together) = found
        assert keys == keys_of_pair
        assert len(set(keys)) == 1257
        beyond = (np.abs(np.exp(alone) - np.exp(together)) > 0.01).any(axis=1)
        assert beyond.mean() <= most_beyond, stage
    for name in ("teacher", "control", "round-1"):
        scores = json.loads((pair.path / "scores" / name / "scores.json").read_text())
        assert scores["test"]["count"] == 500
        assert verify(pair.path / "scores" / name, "scores").files


def test_a_killed_process_is_started_again_and_no_bit_changes(pair, tmp_path):
    """Exact, since there are two: what they average is the sum of two numbers, whichever of them comes first."""
    launcher = [*TORCHRUN, "--max-restarts=1", "-m", "noisystudent"]
    process = subprocess.Popen([*launcher, *words(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "teacher" / STATE).exists():
        assert process.poll() is None
        time.sleep(0.01)
    first, _ = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(first), signal.SIGKILL)
    printed, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert f"exitcode: -9) local_rank: 0 (pid: {first})" in errors
    assert printed.count("model: ") == 1
    for path in sorted(pair.path.rglob("model.safetensors")):
        assert (tmp_path / path.relative_to(pair.path)).read_bytes() == path.read_bytes(), path


def test_two_processes_train_an_online_student_of_streamed_images_as_one(fork_server, tmp_path):
    settings = {
        **{
            name: value
            for name, value in SETTINGS.items()
            if not name.startswith(("rounds.", "selection.")) and name != "test"
        },
        "train.steps": 6,
        "train.save_every": 60,
        "online.method": "softmatch",
        "data.streaming": "always",
        "data.window": 300,
    }
    for processes in (1, 2):
        options = [f"--{name}={value}" for name, value in settings.items()]
        fork_server.run(["train", f"--out={tmp_path / str(processes)}", *options], processes=processes)
    alone, together = (load_file(tmp_path / name / "model.safetensors") for name in ("1", "2"))
    for name, values in alone.items():
        np.testing.assert_allclose(together[name], values, rtol=1e-3, atol=1e-4, err_msg=name)
