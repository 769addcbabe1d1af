"""Labeling on a local Ray; without Ray installed, that it says so."""

import importlib.util
import os
import subprocess
import sys

import pytest

import noisystudent
from labeling_set import SETTINGS, content, save_teacher, save_unlabeled
from noisystudent.commands.main import main

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray, an extra, is not installed")


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Arguments of the label command, and the predictions of one undisturbed worker."""
    root = tmp_path_factory.mktemp("given")
    teacher, source = save_teacher(root / "teacher"), save_unlabeled(root / "unlabeled.npz", 3)
    whole = noisystudent.label(teacher=teacher, source=source, out=root / "whole", settings=SETTINGS, quiet=True)
    return ["label", f"--teacher={teacher}", f"--source={source}", "--engine=ray"], content(whole)


def run(words, folder) -> subprocess.CompletedProcess:
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-m", "noisystudent", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)


def test_without_ray_the_command_that_installs_it_is_named(given, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*given[0], f"--out={tmp_path / 'out'}"]) == 2
    assert "pip install 'noisystudent[ray]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@needs_ray
def test_ray_makes_what_one_worker_makes(given, tmp_path):
    done = run([*given[0], "--out=out", "--workers=2", "--runtime.threads=1"], tmp_path)  # a relative path
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "out") == given[1]


@needs_ray
def test_an_error_of_an_actor_is_the_commands_and_nothing_is_lost(given, tmp_path):
    failed = run([*given[0], "--out=out", "--workers=1", "--runtime.device=cuda:7"], tmp_path)
    assert failed.returncode == 1
    assert "noisystudent: an actor on Ray failed" in failed.stderr.splitlines()[-1]
    assert "runtime.device is 'cuda:7'" in failed.stderr.splitlines()[-1]
    assert run([*given[0], "--out=out", "--workers=1"], tmp_path).returncode == 0
    assert content(tmp_path / "out") == given[1]
