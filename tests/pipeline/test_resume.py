"""Kill a real run at random moments, run it again until it ends, and compare every weight with an undisturbed run."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORDS = [
    "run", "--labeled=digits:labeled", "--unlabeled=digits:unlabeled", "--test=digits:test",
    "--train.steps=60", "--train.batch_size=32", "--train.save_every=0.05", "--rounds.count=1",
    "--noise.strength=0.25", "--model.teacher=tiny_resnet", "--runtime.threads=1",
]  # fmt: skip
KILLS = 20


def start(out: Path) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "noisystudent", *WORDS, f"--out={out}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)


def finish(out: Path) -> float:
    began = time.monotonic()
    process = start(out)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return time.monotonic() - began


def kill_after(out: Path, seconds: float) -> bool:
    """Starts the run and kills it after ``seconds``; False when it ended before that."""
    process = start(out)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_twenty_kills_change_no_bit(tmp_path):
    whole = tmp_path / "whole"
    seconds = finish(whole)
    chance = random.Random(0)
    killed, number = 0, 0
    # Each folder is killed several times over before it may end; a new one is begun when it did end too soon.
    while killed < KILLS:
        number += 1
        folder = tmp_path / f"killed-{number}"
        for _ in range(8):
            # Importing takes the first seconds; kills before any work would prove little.
            if killed == KILLS or not kill_after(folder, chance.uniform(0.25, 1.0) * seconds):
                break
            killed += 1
        finish(folder)
        for path in sorted(whole.rglob("model.safetensors")):
            assert (folder / path.relative_to(whole)).read_bytes() == path.read_bytes(), path
    assert killed == KILLS
