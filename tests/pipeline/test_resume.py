"""Kill a real run at random moments, run it again until it ends, and compare every weight with an undisturbed run."""

import random
import signal
import time
from pathlib import Path

import pytest

from fork_server import ForkServer

WORDS = [
    "run", "--labeled=digits:labeled", "--unlabeled=digits:unlabeled", "--test=digits:test",
    "--train.steps=40", "--train.batch_size=32", "--train.save_every=0.05", "--rounds.count=1",
    "--noise.strength=0.25", "--model.teacher=tiny_resnet", "--runtime.threads=1",
]  # fmt: skip
KILLS = 20


def finish(server: ForkServer, out: Path) -> float:
    """Runs to the end; returns the seconds that this took."""
    began = time.monotonic()
    server.run([*WORDS, f"--out={out}"])
    return time.monotonic() - began


def kill_after(server: ForkServer, out: Path, seconds: float) -> bool:
    """Starts the run and kills it after ``seconds``; False when it ended before that."""
    command = server.start([*WORDS, f"--out={out}"])
    if not command.wait(seconds):
        command.kill()
    return command.returncode == -signal.SIGKILL


@pytest.mark.timeout(2400)
def test_twenty_kills_change_no_bit(fork_server, tmp_path):
    whole = tmp_path / "whole"
    seconds = finish(fork_server, whole)
    chance = random.Random(0)
    killed, number = 0, 0
    # Each folder is killed several times before it may end; a new one begins when a run ended too soon.
    while killed < KILLS:
        number += 1
        folder = tmp_path / f"killed-{number}"
        for _ in range(8):
            if killed == KILLS or not kill_after(fork_server, folder, chance.uniform(0.05, 0.5) * seconds):
                break
            killed += 1
        finish(fork_server, folder)
        for path in sorted(whole.rglob("model.safetensors")):
            assert (folder / path.relative_to(whole)).read_bytes() == path.read_bytes(), path
    assert killed == KILLS
