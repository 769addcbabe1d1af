"""Distillations on the digits, small enough for every day: the command, its recipes, what is refused and reused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import noisystudent
from noisystudent.commands.main import main
from noisystudent.config import read_recipe, resolve
from noisystudent.errors import DataError, MismatchError, ModelError, SettingsError
from noisystudent.models.checkpoint import label_smoothing_of, load_classifier, save_classifier
from noisystudent.models.normalization import Normalization
from noisystudent.pseudo_labels import predictions
from noisystudent.run_settings import Recipe
from noisystudent.training import teacher_logits
from small_runs import DIGITS, weights

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
NO_CONTROL = {"rounds.controls": 0}
DISTILLATIONS = [name for name in get_args(Recipe) if name not in ("curriculum", "paper", "online", "bit", "simclrv2")]


def distill(out, *, settings=None, **given) -> noisystudent.Run:
    arguments = {**DIGITS, "student": "tiny_resnet", **given}
    return noisystudent.distill(out=out, settings={**SMALL, **(settings or {})}, quiet=True, **arguments)


def difference_of(first: Path, second: Path) -> float:
    """The largest difference between two students' weights."""
    one, other = (load_classifier(folder / "student-1").state_dict() for folder in (first, second))
    return max(float((one[name].float() - other[name].float()).abs().max()) for name in one)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Three checkpoints: of plain labels, of strongly smoothed ones, and of labels as ``train`` smooths them."""
    root = tmp_path_factory.mktemp("teachers")
    for name, smoothing in (("plain", 0.0), ("smoothed", 0.2), ("usual", 0.1)):
        settings = {**SMALL, "model.teacher": "tiny_resnet", "noise.strength": 0.25}
        settings |= {"objective.label_smoothing": smoothing}
        noisystudent.train("digits:labeled", out=root / name, settings=settings, quiet=True)
    return root / "plain", root / "smoothed", root / "usual"


@pytest.fixture(scope="module")
def finished(teachers, tmp_path_factory) -> noisystudent.Run:
    return distill(tmp_path_factory.mktemp("distilled"), teacher=teachers[0])


def test_a_distillation_leaves_a_model_a_control_a_verdict_and_a_page(finished, teachers):
    folder = finished.path
    assert finished.summary.recipe == "distillation"
    assert finished.teacher.samples_seen == 0
    assert finished.student.samples_seen == finished.control.samples_seen == 6 * 32
    assert finished.verdict.treatment == "the teaching"
    assert finished.summary.delivered == "student-1"
    assert weights(folder / "best") == weights(folder / "student-1") != weights(folder / "control")
    page = finished.report.read_text()
    assert "Student 1" in page
    assert "the teaching" in page
    assert "ms per image instead of" in page
    assert finished.student.milliseconds > 0
    assert finished.teacher.milliseconds > 0
    assert "Accuracy per student" in page
    assert "seudo label" not in page.partition('id="settings"')[0]
    assert finished.facts.settings["distillation"]["teachers"] == [str(teachers[0])]
    assert finished.facts.origins["objective.label_smoothing"] == "recipe distillation"


def test_a_finished_distillation_is_not_made_again(finished, teachers):
    before = (finished.path / "student-1/model.safetensors").stat().st_mtime_ns
    again = distill(finished.path, teacher=teachers[0])
    assert (finished.path / "student-1/model.safetensors").stat().st_mtime_ns == before
    assert again.student == finished.student


def test_a_student_that_starts_from_a_checkpoint_keeps_its_normalization(finished, teachers, tmp_path):
    given = load_classifier(finished.path / "best")
    given.renormalize(Normalization((0.3,), (0.2,)))
    save_classifier(given, tmp_path / "given")
    distill(tmp_path / "out", teacher=teachers[0], student=tmp_path / "given")
    for stage in ("student-1", "control"):
        assert load_classifier(tmp_path / "out" / stage).normalization == given.normalization


def test_another_temperature_is_another_student(finished, teachers, tmp_path):
    distill(tmp_path, teacher=teachers[0], settings={"distillation.temperature": 1.0, **NO_CONTROL})
    assert weights(tmp_path / "student-1") != weights(finished.path / "student-1")


def test_cached_logits_are_the_labels_that_label_makes(teachers, tmp_path):
    for mode in ("cached", "online"):
        settings = {**CALM, "distillation.teacher_logits": mode, **NO_CONTROL}
        distill(tmp_path / mode, teacher=teachers[0], settings=settings)
    labels = noisystudent.label(teacher=teachers[0], source="digits:unlabeled", out=tmp_path / "labels", quiet=True)
    keys, values = predictions.read_all(tmp_path / "cached/answers/teacher-1/unlabeled", 10)
    same_keys, same_values = predictions.read_all(labels, 10)
    assert keys == same_keys
    np.testing.assert_allclose(values, same_values, atol=1e-5)
    # Without input noise the views are the whole images, so the student learns from the same logits.
    assert difference_of(tmp_path / "cached", tmp_path / "online") < 1e-4


def test_cached_views_teach_again_without_the_teacher(teachers, tmp_path, monkeypatch):
    settings = {
        **NO_CONTROL,
        "distillation.teacher_logits": "cached_views",
        "distillation.cache": str(tmp_path / "views"),
        "noise.crop": "pad",
    }
    calls, ask = [], teacher_logits.teacher_logits_of
    monkeypatch.setattr(teacher_logits, "teacher_logits_of", lambda *images: calls.append(1) or ask(*images))
    distill(tmp_path / "first", teacher=teachers[0], settings=settings)
    assert len(calls) == 64  # a part of the cache
    distill(tmp_path / "second", teacher=teachers[0], settings={**settings, "distillation.temperature": 1.0})
    assert len(calls) == 64
    assert weights(tmp_path / "first/student-1") != weights(tmp_path / "second/student-1")
    with pytest.raises(MismatchError, match=r"other views than those of this training; what differs: seed: 0 -> 1\. "):
        distill(tmp_path / "third", teacher=teachers[0], settings={**settings, "seed": 1})


def test_a_longer_training_asks_only_for_the_views_that_are_new(teachers, tmp_path, monkeypatch):
    monkeypatch.setattr("noisystudent.training.teacher_logits._ROWS", 8 * 32)  # 8 steps
    settings = {"distillation.teacher_logits": "cached_views", **NO_CONTROL}
    distill(tmp_path, teacher=teachers[0], settings=settings)
    (part,) = (tmp_path / "views/student-1/teacher-1").glob("part-*")
    before = part.stat().st_mtime_ns
    distill(tmp_path, teacher=teachers[0], settings={**settings, "train.steps": 10})
    parts = sorted((tmp_path / "views/student-1/teacher-1").glob("part-*"))
    assert [path.name for path in parts] == ["part-00000.parquet", "part-00001.parquet"]
    assert parts[0].stat().st_mtime_ns == before


def test_an_ensemble_is_scored_as_the_mean_of_its_teachers(teachers, tmp_path):
    finished = distill(tmp_path, teacher=teachers[:2], settings={"distillation.weights": [1, 3], **NO_CONTROL})
    assert [teacher.name for teacher in finished.summary.teachers] == ["teacher 1", "teacher 2"]
    assert finished.teacher.name == "mean of the teachers"
    answers = []
    for teacher in teachers[:2]:
        folder = noisystudent.label(teacher=teacher, source="digits:test", out=tmp_path / teacher.name, quiet=True)
        answers.append(np.exp(predictions.read_all(folder, 10)[1]))
    confusion = np.array(json.loads((tmp_path / "scores/teachers/scores.json").read_text())["test"]["confusion"])
    assert confusion.sum() == 500
    mean = 0.25 * answers[0] + 0.75 * answers[1]
    assert np.bincount(mean.argmax(axis=1), minlength=10).tolist() == confusion.sum(axis=0).tolist()


@pytest.mark.parametrize("mode", ["online", "cached", "cached_views"])
def test_compression_needs_no_labels(teachers, tmp_path, mode):
    settings = {"recipe": "compression", "distillation.teacher_logits": mode}
    finished = distill(tmp_path, teacher=teachers[0], labeled=None, settings=settings)
    assert finished.control is None
    assert "no control was trained (it needs labels)" in finished.verdict.reason
    assert finished.student.samples_seen == 6 * 32
    assert "Student 1" in finished.report.read_text()


def test_labels_alone_are_enough(teachers, tmp_path):
    finished = distill(tmp_path, teacher=teachers[0], unlabeled=None)
    assert finished.student.samples_seen == finished.control.samples_seen


def test_generations_learn_each_from_the_one_before_and_are_scored_together(tmp_path):
    finished = distill(tmp_path, student=None, settings={"recipe": "born-again"})
    assert [student.name for student in finished.rounds] == ["student 1", "student 2", "student 3"]
    assert finished.summary.generations.name == "mean of the students"
    objectives = [json.loads((tmp_path / f"student-{k}/inputs.json").read_text())["objective"] for k in (1, 2, 3)]
    teachers = [
        json.loads((tmp_path / name / "manifest.json").read_text())["fingerprint"]
        for name in ("teacher-1", "student-1", "student-2")
    ]
    assert [objective["teachers"] for objective in objectives] == [[fingerprint] for fingerprint in teachers]


def test_a_defective_teacher_stops_early(tmp_path):
    settings = {"recipe": "defective", "distillation.teacher_steps": 2, "distillation.teachers": ["tiny_resnet"]}
    finished = distill(tmp_path, settings=settings)
    assert finished.teacher.samples_seen == 2 * 32
    assert finished.student.samples_seen == 6 * 32


@pytest.mark.parametrize("method", ["virtual_teacher", "matched_smoothing", "confidence_penalty"])
def test_teacher_free_methods_have_no_teacher(tmp_path, method):
    finished = distill(tmp_path, settings={"distillation.method": method, **NO_CONTROL})
    assert finished.teacher is None
    assert "no teacher" in finished.report.read_text()


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_every_recipe_is_of_settings_that_fit_together(name):
    settings = resolve({"recipe": name, "out": "x"}).settings
    assert settings.recipe == name
    assert settings.distillation.method != "none"
    assert "objective.label_smoothing" in read_recipe(name)
    assert {"distillation.preset", "distillation.method"} & set(read_recipe(name))


def test_a_preset_on_the_command_line_replaces_that_of_the_recipe():
    settings = resolve({"recipe": "distillation", "out": "x", "distillation.preset": "paper:zhao2022"}).settings
    assert (settings.distillation.method, settings.distillation.dkd_beta) == ("dkd", 8.0)


def test_a_checkpoint_says_how_its_labels_were_smoothed(teachers):
    assert [label_smoothing_of(folder) for folder in teachers] == [0.0, 0.2, 0.1]


@pytest.mark.parametrize(("teacher", "temperature", "warned"), [(1, 4.0, True), (1, 1.0, False), (2, 4.0, False)])
def test_a_teacher_of_labels_smoothed_more_than_usual_is_warned_of_at_a_high_temperature(
    teachers, tmp_path, capsys, teacher, temperature, warned
):
    words = [f"--{name}={value}" for name, value in {**DIGITS, **SMALL, "train.steps": 1}.items()]
    words += [f"--teacher={teachers[teacher]}", "--student=tiny_resnet", f"--out={tmp_path}", "--rounds.controls=0"]
    assert main(["distill", *words, f"--distillation.temperature={temperature}"]) == 0
    printed = capsys.readouterr()
    assert ("trained with label smoothing 0.2" in printed.out + printed.err) == warned
    assert ("warning" in printed.out + printed.err) == warned
    assert "model: " in printed.out


PLAIN = {"teacher": "PLAIN"}  # stands for the checkpoint of plain labels


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
        ({**PLAIN, "labeled": None, "unlabeled": None}, {}, DataError, "nothing to learn from"),
        ({**PLAIN, "labeled": None}, {"distillation.applies_to": "labeled"}, SettingsError, "no labeled images"),
        ({**PLAIN, "unlabeled": None}, {"distillation.applies_to": "unlabeled"}, SettingsError, "no unlabeled"),
        ({**PLAIN, "labeled": None}, {"noise.strength": "auto"}, SettingsError, "chosen by labels"),
        (PLAIN, {"data.channels": "rgb"}, ModelError, "data.channels gray"),
        (PLAIN, {"distillation.temperature": 0}, SettingsError, "distillation.temperature.*give a number above 0"),
        (PLAIN, {"distillation.teacher_logits": "cached", "noise.mixup": 1}, SettingsError, "single images"),
        (PLAIN, {"data.streaming": "always"}, SettingsError, "keeps its images in memory"),
        (PLAIN, {"distillation.weights": [0]}, SettingsError, "do not sum to 0"),
    ],
)
def test_a_distillation_that_cannot_work_is_refused_with_the_reason(
    given, settings, error, message, teachers, tmp_path
):
    if given.get("teacher") == "PLAIN":
        given = {**given, "teacher": teachers[0]}
    with pytest.raises(error, match=message):
        distill(tmp_path, settings=settings, **given)


def test_what_only_the_students_cannot_do_is_said_before_their_teachers_train(tmp_path):
    with pytest.raises(SettingsError, match="keeps its images in memory"):
        distill(tmp_path / "a", teacher="tiny_resnet", settings={"data.streaming": "always"})
    settings = {
        **SMALL, **NO_CONTROL, "model.teacher": "tiny_resnet", "rounds.count": 1, "distillation.method": "kd",
        "distillation.teacher_logits": "cached",
    }  # fmt: skip
    for changed, message in (({"noise.mixup": 1}, "single images"), ({"data.streaming": "always"}, "in memory")):
        with pytest.raises(SettingsError, match=message):
            noisystudent.run(**DIGITS, out=tmp_path / "b", settings={**settings, **changed}, quiet=True)
    assert not list(tmp_path.glob("*/teacher*"))


def save_two_classes(path: Path, names: tuple[str, str] = ("three", "eight")) -> str:
    random = np.random.default_rng(0)
    np.savez(path, x=random.integers(0, 256, (40, 16, 16), np.uint8), y=np.arange(40) % 2, classes=np.array(names))
    return str(path)


def test_a_teacher_of_other_classes_is_refused_and_one_in_another_order_is_not(teachers, tmp_path):
    labels_only = {"unlabeled": None, "test": None}
    labeled = save_two_classes(tmp_path / "labeled.npz")
    with pytest.raises(ModelError, match=r"other classes than the data.*three, eight \(2\)"):
        distill(tmp_path / "a", teacher=teachers[0], labeled=labeled, **labels_only)
    quick = {"train.steps": 1, **NO_CONTROL}
    distill(tmp_path / "b", teacher="tiny_resnet", labeled=labeled, settings=quick, **labels_only)
    swapped = save_two_classes(tmp_path / "swapped.npz", ("eight", "three"))
    run = distill(tmp_path / "c", teacher=tmp_path / "b/best", labeled=swapped, settings=quick, **labels_only)
    assert run.summary.classes == ("three", "eight")
    distill(tmp_path / "d", teacher="tiny_resnet", labeled=swapped, settings=quick, **labels_only)
    two = [tmp_path / "b/best", tmp_path / "d/best"]
    with pytest.raises(ModelError, match="or in another order than the first model"):
        distill(tmp_path / "e", teacher=two, labeled=swapped, settings=quick, **labels_only)


def test_rank_relations_of_two_classes_are_refused(tmp_path):
    labeled = save_two_classes(tmp_path / "labeled.npz")
    with pytest.raises(SettingsError, match="with 2 there is nothing to rank"):
        distill(
            tmp_path / "run", teacher="tiny_resnet", labeled=labeled, unlabeled=None, test=None,
            settings={"distillation.preset": "paper:huang2022"},
        )  # fmt: skip
    with pytest.raises(SettingsError, match="with 2 there is nothing to rank"):
        noisystudent.run(
            labeled, "digits:unlabeled", out=tmp_path / "other", settings={"distillation.method": "dist"}, quiet=True
        )


def test_a_teacher_of_another_size_and_normalization_sees_the_view_in_its_own_way(teachers, tmp_path):
    """The teacher was made for 16 pixels; the student takes 24, and both see the same crops."""
    settings = {**CALM, "data.size": 24, "noise.crop": "pad", **NO_CONTROL}
    for mode in ("online", "cached_views", "cached"):
        finished = distill(
            tmp_path / mode, teacher=teachers[0], settings={**settings, "distillation.teacher_logits": mode}
        )
        assert load_classifier(tmp_path / mode / "best").size == 24
        assert 0 <= finished.student.test.top1 <= 1
    assert difference_of(tmp_path / "online", tmp_path / "cached_views") < 1e-4


def test_in_a_run_the_teacher_of_the_round_teaches_its_student(tmp_path):
    settings = {
        **SMALL, **NO_CONTROL, "model.teacher": "tiny_resnet", "noise.strength": 0.25, "rounds.count": 1,
        "distillation.method": "kd", "distillation.teacher_logits": "cached",
    }  # fmt: skip
    noisystudent.run(**DIGITS, out=tmp_path, settings=settings, quiet=True)
    objective = json.loads((tmp_path / "round-1/student/inputs.json").read_text())["objective"]
    teacher = json.loads((tmp_path / "teacher/manifest.json").read_text())["fingerprint"]
    assert objective["teachers"] == [teacher]
    rows = [json.loads(row) for row in (tmp_path / "round-1/student/metrics.jsonl").read_text().splitlines()]
    assert {"hard", "soft"} <= rows[-1].keys()
    with pytest.raises(SettingsError, match=r"run does not use distillation\.teachers, which distill uses"):
        noisystudent.run(
            **DIGITS, out=tmp_path / "b", settings={**settings, "distillation.teachers": ["x"]}, quiet=True
        )
    with pytest.raises(SettingsError, match="leave one of the two out"):
        noisystudent.run(**DIGITS, out=tmp_path / "c", settings={**settings, "noise.teacher": True}, quiet=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distillation.method": "kd"}, r"distillation\.method, which run, plan, study and distill use"),
        ({"evaluation.suite": ["attacks"]}, r"evaluation\.suite, which run, plan, study, distill, .* use"),
    ],
)
def test_settings_that_a_command_does_not_use_are_refused(settings, message, tmp_path):
    with pytest.raises(SettingsError, match=f"train does not use {message}"):
        noisystudent.train("digits:labeled", out=tmp_path, settings=settings, quiet=True)


def test_without_labels_only_distill_has_work_to_do(tmp_path):
    with pytest.raises(SettingsError, match="needs labeled images"):
        noisystudent.run(unlabeled="digits:unlabeled", out=tmp_path, settings=SMALL, quiet=True)
