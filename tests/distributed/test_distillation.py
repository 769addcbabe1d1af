"""Distillations in two processes: the same training as in one, for every source of teacher logits."""

import json

import pytest

import noisystudent
from small_runs import DIGITS

SMALL = {
    "train.steps": 6,
    "train.batch_size": 32,
    "data.size": 16,
    "data.near_duplicates": "none",
    "noise.crop": "none",
    "noise.randaugment": False,
    "noise.dropout": 0,  # each process draws model noise for itself
    "noise.stochastic_depth": 0,
    # With AdamW, or at a high rate, rounding errors grow into differences.
    "train.optimizer": "sgd",
    "train.learning_rate": 0.002,
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    settings = {**SMALL, "model.teacher": "tiny_resnet", "noise.strength": 0.25}
    return noisystudent.train("digits:labeled", out=folder, settings=settings, quiet=True).folder


@pytest.mark.parametrize("teacher_logits", ["online", "cached", "cached_views"])
def test_two_processes_train_the_same_student_as_one(fork_server, teacher, tmp_path, teacher_logits):
    settings = {**DIGITS, **SMALL, "rounds.controls": 0, "distillation.teacher_logits": teacher_logits}
    words = ["distill", f"--teacher={teacher}", "--student=tiny_resnet", "--runtime.threads=1"]
    words += [f"--{name}={value}" for name, value in settings.items()]
    rows = []
    for count in (1, 2):
        fork_server.run([*words, f"--out={tmp_path / str(count)}"], processes=count)
        metrics = tmp_path / str(count) / "student-1/metrics.jsonl"
        rows.append(json.loads(metrics.read_text().splitlines()[-1]))
    assert rows[0] == pytest.approx(rows[1], rel=1e-4)
