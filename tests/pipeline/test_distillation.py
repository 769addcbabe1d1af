"""Distillations on the digits, small enough for every day: the verb, its recipes, what is refused and reused."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest

import noisystudent
from noisystudent.commands.main import main
from noisystudent.config import Recipe, read_recipe, resolve
from noisystudent.errors import DataError, MismatchError, ModelError, SettingsError
from noisystudent.evaluation.metrics.ensemble import mean_log_probabilities
from noisystudent.models.checkpoint import label_smoothing_of, load_classifier
from noisystudent.pseudo_labels import predictions

SMALL = {
    "train.steps": 6,
    "train.batch_size": 32,
    "data.size": 16,
    "data.near_duplicates": "none",
    "noise.crop": "none",
    "noise.randaugment": False,
}
# With AdamW, or at a high rate, rounding errors grow into differences.
CALM = {"train.optimizer": "sgd", "train.learning_rate": 0.002}
SOURCES = {"labeled": "digits:labeled", "unlabeled": "digits:unlabeled", "test": "digits:test"}
DISTILLATIONS = [name for name in get_args(Recipe) if name not in ("curriculum", "paper")]


def distill(out, *, settings=None, **given):
    sources = {**SOURCES, "student": "tiny_resnet", **given}
    return noisystudent.distill(out=out, settings={**SMALL, **(settings or {})}, quiet=True, **sources)


def difference_of(one, other):
    """The largest difference between two students' weights."""
    first, second = (load_classifier(folder / "student-1").state_dict() for folder in (one, other))
    return max(float((first[name].float() - second[name].float()).abs().max()) for name in first)


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Two checkpoints, the first of plain and the second of smoothed labels."""
    root = tmp_path_factory.mktemp("teachers")
    for name, smoothing in (("plain", 0.0), ("smoothed", 0.1)):
        settings = {**SMALL, "model.teacher": "tiny_resnet", "noise.strength": 0.25}
        settings |= {"objective.label_smoothing": smoothing}
        noisystudent.train(labeled="digits:labeled", out=root / name, settings=settings, quiet=True)
    return root / "plain", root / "smoothed"


@pytest.fixture(scope="module")
def finished(teachers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("distilled")
    return folder, distill(folder, teacher=teachers[0])


def test_a_distillation_leaves_a_model_a_control_a_verdict_and_a_page(finished, teachers):
    folder, summary = finished
    assert summary["recipe"] == "distillation"
    assert summary["teacher"]["samples_seen"] == 0
    assert summary["student"]["samples_seen"] == summary["control"]["samples_seen"] == 6 * 32
    assert summary["verdict"]["helper"] == "the teaching"
    assert summary["delivered"] == "student-1"
    assert weights(folder / "best") == weights(folder / "student-1") != weights(folder / "control")
    page = (folder / "report.html").read_text()
    assert "Student 1" in page
    assert "the teaching" in page
    assert "Accuracy per student" in page
    assert "seudo label" not in page.partition('id="settings"')[0]
    told = json.loads((folder / "run.json").read_text())
    assert told["settings"]["distillation"]["teachers"] == [str(teachers[0])]
    assert told["origins"]["objective.label_smoothing"] == "recipe distillation"


def test_a_finished_distillation_is_not_made_again(finished, teachers):
    folder, summary = finished
    before = (folder / "student-1/model.safetensors").stat().st_mtime_ns
    again = distill(folder, teacher=teachers[0])
    assert (folder / "student-1/model.safetensors").stat().st_mtime_ns == before
    assert again["student"] == summary["student"]


def test_another_temperature_is_another_student(finished, teachers, tmp_path):
    distill(tmp_path, teacher=teachers[0], settings={"distillation.temperature": 1.0, "rounds.control": False})
    assert weights(tmp_path / "student-1") != weights(finished[0] / "student-1")


def test_stored_answers_are_the_labels_that_label_makes(teachers, tmp_path):
    for teacher_logits in ("stored", "online"):
        settings = {**CALM, "distillation.teacher_logits": teacher_logits, "rounds.control": False}
        distill(tmp_path / teacher_logits, teacher=teachers[0], settings=settings)
    label = noisystudent.label(
        teacher=teachers[0], source="digits:unlabeled", out=tmp_path / "labels", quiet=True, settings={}
    )
    keys, values = predictions.read_all(tmp_path / "stored/answers/teacher-1/unlabeled", 10)
    same_keys, same = predictions.read_all(label, 10)
    assert keys == same_keys
    np.testing.assert_allclose(values, same, atol=1e-5)
    # Without input noise the views are the whole images, so the student learns from the same answers.
    assert difference_of(tmp_path / "stored", tmp_path / "online") < 1e-4


def test_replayed_views_teach_again_without_the_teacher(teachers, tmp_path, monkeypatch):
    settings = {
        "distillation.teacher_logits": "cached_views",
        "distillation.cache": str(tmp_path / "views"),
        "noise.crop": "pad",
    }
    settings |= {"rounds.control": False}
    distill(tmp_path / "first", teacher=teachers[0], settings=settings)
    asked = []
    monkeypatch.setattr("noisystudent.training.teacher_logits.answers", lambda *_: asked.append(1))
    distill(tmp_path / "second", teacher=teachers[0], settings={**settings, "distillation.temperature": 1.0})
    assert not asked
    assert weights(tmp_path / "first/student-1") != weights(tmp_path / "second/student-1")
    with pytest.raises(MismatchError, match=r"other views than those of this training; what differs: seed: 0 -> 1\. "):
        distill(tmp_path / "third", teacher=teachers[0], settings={**settings, "seed": 1})


def test_a_longer_training_asks_only_for_the_views_that_are_new(teachers, tmp_path):
    settings = {"distillation.teacher_logits": "cached_views", "rounds.control": False}
    distill(tmp_path, teacher=teachers[0], settings=settings)
    (part,) = (tmp_path / "views/student-1/teacher-1").glob("part-*")
    before = part.stat().st_mtime_ns
    distill(tmp_path, teacher=teachers[0], settings={**settings, "train.steps": 70})
    parts = sorted((tmp_path / "views/student-1/teacher-1").glob("part-*"))
    assert [path.name for path in parts] == ["part-00000.parquet", "part-00001.parquet"]
    assert parts[0].stat().st_mtime_ns == before


def test_an_ensemble_is_scored_as_the_mean_of_its_teachers(teachers, tmp_path):
    summary = distill(tmp_path, teacher=teachers, settings={"distillation.weights": [1, 3], "rounds.control": False})
    assert [each["name"] for each in summary["teachers"]] == ["teacher 1", "teacher 2"]
    assert summary["teacher"]["name"] == "mean of the teachers"
    answers, labels = [], None
    for teacher in teachers:
        folder = noisystudent.label(teacher=teacher, source="digits:test", out=tmp_path / teacher.name, quiet=True)
        answers.append(np.exp(predictions.read_all(folder, 10)[1]))
    table = json.loads((tmp_path / "scores/teachers/scores.json").read_text())["test"]
    labels = np.repeat(np.arange(10), np.array(table["confusion"]).sum(axis=1))
    assert len(labels) == 500
    mean = 0.25 * answers[0] + 0.75 * answers[1]
    counts = np.bincount(mean.argmax(axis=1), minlength=10)
    assert counts.tolist() == np.array(table["confusion"]).sum(axis=0).tolist()


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_means_of_log_probabilities(mean):
    random = np.random.default_rng(0)
    members = [np.log(random.dirichlet(np.ones(5), 7)) for _ in range(3)]
    found = np.exp(mean_log_probabilities(members, (1, 2, 1), mean))
    if mean == "arithmetic":
        expected = sum(w * np.exp(each) for w, each in zip((0.25, 0.5, 0.25), members, strict=True))
    else:
        product = np.prod([np.exp(each) ** w for w, each in zip((0.25, 0.5, 0.25), members, strict=True)], axis=0)
        expected = product / product.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("teacher_logits", ["online", "stored", "views"])
def test_compression_needs_no_labels(teachers, tmp_path, teacher_logits):
    settings = {"recipe": "compression", "distillation.teacher_logits": teacher_logits}
    summary = distill(tmp_path, teacher=teachers[0], labeled=None, settings=settings)
    assert summary["control"] is None
    assert "no control was trained (it needs labels)" in summary["verdict"]["reason"]
    assert summary["student"]["samples_seen"] == 6 * 32
    assert "Student 1" in (tmp_path / "report.html").read_text()


def test_labels_alone_are_enough(teachers, tmp_path):
    summary = distill(tmp_path, teacher=teachers[0], unlabeled=None)
    assert summary["student"]["samples_seen"] == summary["control"]["samples_seen"]


def test_generations_learn_each_from_the_one_before_and_are_scored_together(tmp_path):
    summary = distill(tmp_path, student=None, settings={"recipe": "born-again"})
    assert [each["name"] for each in summary["rounds"]] == ["student 1", "student 2", "student 3"]
    assert summary["generations"]["name"] == "mean of the students"
    inputs = [json.loads((tmp_path / f"student-{k}/inputs.json").read_text())["objective"] for k in (1, 2, 3)]
    before = [
        json.loads((tmp_path / name / "manifest.json").read_text())["fingerprint"]
        for name in ("teacher-1", "student-1", "student-2")
    ]
    assert [each["teachers"] for each in inputs] == [[fingerprint] for fingerprint in before]


def test_a_defective_teacher_is_broken_off(tmp_path):
    settings = {"recipe": "defective", "distillation.teacher_steps": 2, "distillation.teachers": ["tiny_resnet"]}
    summary = distill(tmp_path, settings=settings)
    assert summary["teacher"]["samples_seen"] == 2 * 32
    assert summary["student"]["samples_seen"] == 6 * 32


@pytest.mark.parametrize("method", ["virtual_teacher", "matched_smoothing", "confidence_penalty"])
def test_teacher_free_methods_have_no_teacher(tmp_path, method):
    summary = distill(tmp_path, settings={"distillation.method": method, "rounds.control": False})
    assert summary["teacher"] is None
    assert "no teacher" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_every_recipe_is_of_settings_that_fit_together(name):
    settings = resolve({"recipe": name, "out": "x"}).settings
    assert settings.recipe == name
    assert settings.distillation.method != "none"
    assert set(read_recipe(name)) >= {"distillation.preset", "objective.label_smoothing"}


def test_a_preset_on_the_command_line_replaces_that_of_the_recipe():
    settings = resolve({"recipe": "distillation", "out": "x", "distillation.preset": "paper:zhao2022"}).settings
    assert (settings.distillation.method, settings.distillation.dkd_beta) == ("dkd", 8.0)


def test_a_checkpoint_says_how_its_labels_were_smoothed(teachers):
    assert [label_smoothing_of(folder) for folder in teachers] == [0.0, 0.1]


@pytest.mark.parametrize(("temperature", "warned"), [(4.0, True), (1.0, False)])
def test_a_teacher_of_smoothed_labels_is_warned_of_at_a_high_temperature(
    teachers, tmp_path, capsys, temperature, warned
):
    words = [f"--{name}={value}" for name, value in {**SOURCES, **SMALL, "train.steps": 1}.items()]
    words += [f"--teacher={teachers[1]}", "--student=tiny_resnet", f"--out={tmp_path}", "--rounds.control=false"]
    assert main(["distill", *words, f"--distillation.temperature={temperature}"]) == 0
    printed = capsys.readouterr()
    assert ("trained with label smoothing 0.1" in printed.out + printed.err) == warned
    assert "model: " in printed.out


@pytest.mark.parametrize(
    ("given", "settings", "error", "message"),
    [
        ({}, {}, SettingsError, "needs a teacher: give --teacher"),
        ({"teacher": "tiny_resnett"}, {}, ModelError, "tiny_resnet"),
        ({"teacher": "no/such/folder"}, {}, ModelError, "not a checkpoint"),
        (
            {"teacher": "tiny_resnet"},
            {"distillation.method": "confidence_penalty"},
            SettingsError,
            "leave out --teacher",
        ),
        ({"teacher": "tiny_resnet"}, {"distillation.method": "none"}, SettingsError, "give a method"),
        ({"teacher": "tiny_resnet", "labeled": None}, {}, SettingsError, "train the teacher 'tiny_resnet'"),
        ({"labeled": None}, {"recipe": "virtual-teacher"}, SettingsError, "for the method virtual_teacher"),
        ({"teacher": "PLAIN", "labeled": None, "unlabeled": None}, {}, DataError, "nothing to learn from"),
        (
            {"teacher": "PLAIN", "labeled": None},
            {"distillation.applies_to": "labeled"},
            SettingsError,
            "no labeled images",
        ),
        (
            {"teacher": "PLAIN", "unlabeled": None},
            {"distillation.applies_to": "unlabeled"},
            SettingsError,
            "no unlabeled",
        ),
        ({"teacher": "PLAIN", "labeled": None}, {"noise.strength": "auto"}, SettingsError, "chosen by labels"),
        ({"teacher": "PLAIN"}, {"data.channels": "rgb"}, ModelError, "data.channels gray"),
        (
            {"teacher": "PLAIN"},
            {"distillation.temperature": 0},
            SettingsError,
            "distillation.temperature.*greater than 0",
        ),
        (
            {"teacher": "PLAIN"},
            {"distillation.teacher_logits": "cached", "noise.mixup": 1},
            SettingsError,
            "single images",
        ),
        ({"teacher": "PLAIN"}, {"data.streaming": "always"}, SettingsError, "keeps its images in memory"),
        ({"teacher": "PLAIN"}, {"distillation.weights": [0]}, SettingsError, "do not sum to 0"),
    ],
)
def test_what_cannot_be_done_is_said(given, settings, error, message, teachers, tmp_path):
    if given.get("teacher") == "PLAIN":
        given = {**given, "teacher": teachers[0]}
    with pytest.raises(error, match=message):
        distill(tmp_path, settings=settings, **given)


def binary(path, names=("three", "eight")):
    random = np.random.default_rng(0)
    np.savez(path, x=random.integers(0, 256, (40, 16, 16), np.uint8), y=np.arange(40) % 2, classes=np.array(names))
    return str(path)


def test_a_teacher_of_other_classes_or_another_order_is_refused(teachers, tmp_path):
    with pytest.raises(ModelError, match=r"other classes than the data.*three, eight \(2\)"):
        distill(tmp_path / "a", teacher=teachers[0], labeled=binary(tmp_path / "b.npz"), unlabeled=None, test=None)
    own = binary(tmp_path / "own.npz")
    distill(tmp_path / "c", teacher="tiny_resnet", labeled=own, unlabeled=None, test=None, settings={"train.steps": 1})
    turned = binary(tmp_path / "turned.npz", ("eight", "three"))
    with pytest.raises(ModelError, match="or in another order"):
        distill(tmp_path / "d", teacher=tmp_path / "c/best", labeled=turned, unlabeled=None, test=None)


def test_rank_relations_of_two_classes_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="with 2 there is nothing to rank"):
        distill(
            tmp_path / "run", teacher="tiny_resnet", labeled=binary(tmp_path / "b.npz"), unlabeled=None, test=None,
            settings={"distillation.preset": "paper:huang2022"},
        )  # fmt: skip


def test_a_teacher_of_another_size_and_normalization_sees_the_view_in_its_own_way(teachers, tmp_path):
    """The teacher was made for 16 pixels; the student takes 24, and both see the same crops."""
    settings = {**CALM, "data.size": 24, "noise.crop": "pad", "rounds.control": False}
    for teacher_logits in ("online", "views", "stored"):
        summary = distill(
            tmp_path / teacher_logits,
            teacher=teachers[0],
            settings={**settings, "distillation.teacher_logits": teacher_logits},
        )
        assert load_classifier(tmp_path / teacher_logits / "best").size == 24
        assert 0 <= summary["student"]["test"]["top1"] <= 1
    assert difference_of(tmp_path / "online", tmp_path / "views") < 1e-4


def test_in_a_run_the_round_s_teacher_teaches_its_student(tmp_path):
    settings = {
        **SMALL, "model.teacher": "tiny_resnet", "noise.strength": 0.25, "rounds.count": 1, "rounds.control": False,
        "distillation.method": "kd", "distillation.teacher_logits": "cached",
    }  # fmt: skip
    noisystudent.run(**SOURCES, out=tmp_path, settings=settings, quiet=True)
    objective = json.loads((tmp_path / "round-1/student/inputs.json").read_text())["objective"]
    teacher = json.loads((tmp_path / "teacher/manifest.json").read_text())["fingerprint"]
    assert objective["teachers"] == [teacher]
    rows = [json.loads(row) for row in (tmp_path / "round-1/student/metrics.jsonl").read_text().splitlines()]
    assert {"hard", "soft"} <= rows[-1].keys()
    with pytest.raises(SettingsError, match="are for distill"):
        noisystudent.run(
            **SOURCES, out=tmp_path / "b", settings={**settings, "distillation.teachers": ["x"]}, quiet=True
        )
    with pytest.raises(SettingsError, match="leave one of the two out"):
        noisystudent.run(**SOURCES, out=tmp_path / "c", settings={**settings, "noise.teacher": True}, quiet=True)


@pytest.mark.slow
@pytest.mark.parametrize("teacher_logits", ["online", "stored", "views"])
def test_two_processes_teach_as_one_does(teachers, tmp_path, teacher_logits):
    """At a low rate, and without noise that each process draws for itself, only rounding tells them apart."""
    settings = {**SOURCES, **SMALL, "noise.dropout": 0, "noise.stochastic_depth": 0, "rounds.control": False}
    settings |= {**CALM, "distillation.teacher_logits": teacher_logits}
    words = ["distill", f"--teacher={teachers[0]}", "--student=tiny_resnet", "--runtime.threads=1"]
    words += [f"--{name}={value}" for name, value in settings.items()]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    rows = []
    for count in ("1", "2"):
        command = [*torchrun, count, "-m", "noisystudent", *words, f"--out={tmp_path / count}"]
        subprocess.run(command, check=True, capture_output=True)
        rows.append(json.loads((tmp_path / count / "student-1/metrics.jsonl").read_text().splitlines()[-1]))
    assert rows[0] == pytest.approx(rows[1], rel=1e-4)


def test_settings_that_a_verb_has_no_use_for_are_refused(teachers, tmp_path):
    one = {"out": tmp_path, "quiet": True}
    with pytest.raises(SettingsError, match=r"distillation\.method is kd; use distill, or run"):
        noisystudent.train(labeled="digits:labeled", settings={"distillation.method": "kd"}, **one)
    suite = {"evaluation.suite": ["attacks"]}
    with pytest.raises(SettingsError, match="leave it out of train"):
        noisystudent.train(labeled="digits:labeled", settings=suite, **one)
    two = binary(tmp_path / "two.npz")
    with pytest.raises(SettingsError, match="with 2 there is nothing to rank"):
        noisystudent.run(labeled=two, unlabeled="digits:unlabeled", settings={"distillation.method": "dist"}, **one)


def test_without_labels_only_distill_has_work_to_do(tmp_path):
    with pytest.raises(SettingsError, match="setting labeled: it is required"):
        noisystudent.run(unlabeled="digits:unlabeled", out=tmp_path, settings=SMALL, quiet=True)
