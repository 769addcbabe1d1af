"""Labeling by real processes: started by one command, by torchrun, by hand, and killed at any moment."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import noisystudent
from labeling_set import SETTINGS, content, content_after_kills, keys, save_teacher, save_unlabeled
from noisystudent.commands.main import main
from noisystudent.errors import WorkerError
from noisystudent.pseudo_labels.labeling import processes as starting

SHARDS = 12
KILLS = 10


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Arguments of the label command, and the predictions of one undisturbed worker."""
    root = tmp_path_factory.mktemp("given")
    teacher, source = save_teacher(root / "teacher"), save_unlabeled(root / "unlabeled.npz", SHARDS)
    whole = noisystudent.label(teacher=teacher, source=source, out=root / "whole", settings=SETTINGS, quiet=True)
    options = [f"--{name}={value}" for name, value in SETTINGS.items()]
    return ["label", f"--teacher={teacher}", f"--source={source}", *options], content(whole)


def start(given, out: Path, *words: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
    command = [sys.executable, *launcher, "-m", "noisystudent", *given[0], f"--out={out}", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        # A shell that starts tests in the background has them ignore Ctrl-C, and their processes with them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def finish(process: subprocess.Popen) -> str:
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0, printed
    return printed


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def claims(out: Path) -> set[str]:
    """The content of the claims in force."""
    texts = set()
    for path in out.glob(".part-*.claim"):
        with suppress(FileNotFoundError):
            texts.add(path.read_text())
    return texts - {""}


def test_a_worker_that_dies_is_reported_with_its_last_output(given, tmp_path, monkeypatch, capsys):
    dies = "import sys; sys.stdin.readline(); print('before'); sys.exit('noisystudent: the disk caught fire')"
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    monkeypatch.setattr(starting, "_CHILD", dies)
    monkeypatch.setattr(starting, "POLL_INTERVAL", 0.05)
    assert main([*given[0], f"--out={tmp_path / 'out'}", "--workers=2"]) == 1
    printed = capsys.readouterr().err
    for worker in ("1/2", "2/2"):
        assert f"worker {worker} died (exit code 1); its last output:\nbefore\nnoisystudent: the disk" in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("noisystudent: 2 of 2 workers died")]
    assert "12 of 12 parts are not made" in line
    message = (
        r"run the same command again for the rest\. Worker [12]/2 \(exit code 1\) printed last: the disk caught fire$"
    )
    assert re.search(message, line)


def test_a_worker_that_is_killed_is_named_by_its_signal(given, tmp_path, monkeypatch):
    monkeypatch.setattr(starting, "_CHILD", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setattr(starting, "POLL_INTERVAL", 0.05)
    words = {word.split("=")[0][2:]: word.split("=")[1] for word in given[0][1:3]}
    with pytest.raises(
        WorkerError, match=r"3 of 3 workers died.*Worker 4/9 \(killed by SIGKILL\) printed last: nothing"
    ):
        noisystudent.label(**words, out=tmp_path / "out", worker="2/3", workers=3, quiet=True)


def test_no_process_is_started_for_finished_predictions(given, tmp_path, monkeypatch):
    words = {word.split("=")[0][2:]: word.split("=")[1] for word in given[0][1:3]}
    noisystudent.label(**words, out=tmp_path / "out", settings=SETTINGS, quiet=True)
    before = content(tmp_path / "out")
    started = []
    monkeypatch.setattr(starting, "_start", lambda *arguments: started.append(arguments))
    noisystudent.label(**words, out=tmp_path / "out", settings=SETTINGS, workers=3, quiet=True)
    assert not started
    assert content(tmp_path / "out") == before


def test_processes_of_one_command_make_what_one_makes_and_show_one_progress(given, tmp_path):
    printed = finish(start(given, tmp_path / "out", "--workers=2"))
    assert content(tmp_path / "out") == given[1]
    assert "label, 2 workers: 11288 images in" in printed


def test_when_one_of_two_is_killed_the_other_finishes(given, tmp_path):
    process = start(given, tmp_path / "out", "--workers=2")
    wait_for(lambda: list(tmp_path.glob("out/part-*")))
    os.kill(children(process.pid)[0], signal.SIGKILL)
    assert "died (killed by SIGKILL)" in finish(process)
    assert content_after_kills(tmp_path / "out") == given[1]


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_when_the_parent_is_killed_so_are_its_workers(given, tmp_path, kind):
    process = start(given, tmp_path / "out", "--workers=2")
    wait_for(lambda: list(tmp_path.glob("out/part-*")))
    workers = children(process.pid)
    assert len(workers) == 2
    os.kill(process.pid, kind)
    printed, _ = process.communicate(timeout=30)
    if kind != signal.SIGKILL:
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[kind]
        assert "run the same command again" in printed
    wait_for(lambda: not any(runs(worker) for worker in workers), 10)
    assert main([*given[0], f"--out={tmp_path / 'out'}"]) == 0
    assert content_after_kills(tmp_path / "out") == given[1]


def test_torchrun_makes_workers_that_label_every_row_once(given, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2")
    printed = finish(start(given, tmp_path / "out", launcher=launcher))
    assert content(tmp_path / "out") == given[1]
    assert "worker 1/2 (known from RANK)" in printed
    assert "worker 2/2 (known from RANK)" in printed
    assert len(set(keys(tmp_path / "out"))) == len(keys(tmp_path / "out")) == 11288


@pytest.mark.timeout(1200)
def test_workers_killed_at_random_moments_lose_and_double_nothing(fork_server, given, tmp_path):
    """Two workers at a time, each killed within a second of its first claim, again and again; then one to the end."""
    chance = random.Random(0)
    killed = number = 0
    while killed < KILLS:
        number += 1
        out = tmp_path / f"out-{number}"
        while killed < KILLS and not (out / "manifest.json").exists():
            workers = [fork_server.start([*given[0], f"--out={out}", f"--worker={index}/2"]) for index in (1, 2)]
            before = claims(out)
            wait_for(lambda out=out, before=before: claims(out) - before or (out / "manifest.json").exists())
            for worker in workers:
                time.sleep(chance.uniform(0, 0.25))
                worker.kill()
                killed += worker.returncode == -signal.SIGKILL
        fork_server.run([*given[0], f"--out={out}", "--worker=3/3"])
        assert content_after_kills(out) == given[1]
    assert killed >= KILLS
