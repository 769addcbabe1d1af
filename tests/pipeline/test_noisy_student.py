"""Whole runs on the digits, small enough for every day: the story, its artifacts, what is reused and what is not."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

import noisystudent
from noisystudent.artifacts.folder import State, verify
from noisystudent.config import resolve
from noisystudent.data.sources.arrays import ArraySource
from noisystudent.data.splits import HeldOutPredictions
from noisystudent.errors import ModelError, SettingsError, TrainingError
from noisystudent.models.checkpoint import load_classifier
from noisystudent.pipeline import context as opening
from noisystudent.pipeline import noisy_student as rounds
from noisystudent.pipeline.noise_search import compare_strengths, weakest_as_good
from noisystudent.pseudo_labels import predictions
from small_runs import SMALL, weights


def run(folder, **changes):
    given = {"labeled": "digits:labeled", "unlabeled": "digits:unlabeled", "test": "digits:test"}
    settings = {**SMALL, **{name.replace("__", "."): value for name, value in changes.items()}}
    for role in list(given):
        given[role] = settings.pop(role, given[role])
    return noisystudent.run(out=str(folder), settings=settings, quiet=True, **given)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, run(folder)


def test_a_noised_teacher_changes_the_labels_and_nothing_before_them(finished, tmp_path):
    folder, _ = finished
    run(tmp_path, noise__teacher=True, rounds__count=1)
    assert weights(folder / "teacher") == weights(tmp_path / "teacher")
    manifest = json.loads((tmp_path / "round-1/predictions/manifest.json").read_text())
    assert manifest["inputs"]["view"]["strength"] == 0.25
    keys, plain = predictions.read_all(folder / "round-1/predictions", 10)
    same_keys, noised = predictions.read_all(tmp_path / "round-1/predictions", 10)
    assert keys == same_keys
    assert np.abs(np.exp(plain) - np.exp(noised)).max() > 0.01


def test_a_run_leaves_everything_that_it_promises(finished):
    folder, summary = finished
    assert (folder / "noise.png").read_bytes().startswith(b"\x89PNG")
    kinds = {"teacher": "checkpoint", "control": "checkpoint", "best": "checkpoint", "scores/control": "scores"}
    for number in (1, 2):
        kinds |= {
            f"round-{number}/predictions": "predictions",
            f"round-{number}/selection": "selection",
            f"round-{number}/student": "checkpoint",
            f"scores/round-{number}": "scores",
        }
    for name, kind in kinds.items():
        assert verify(folder / name, kind).files
    assert json.loads((folder / "summary.json").read_text()) == summary
    page = (folder / "report.html").read_text()
    assert len(page) > 10_000
    assert "What the teacher saw" in page
    assert json.loads((folder / "run.json").read_text())["origins"]["train.steps"] == "command line"


def test_the_summary_holds_scores_verdict_and_cost(finished):
    _, summary = finished
    for row in (summary["teacher"], summary["control"], summary["student"], *summary["rounds"]):
        assert {"top1", "top5", "ece", "nll", "brier"} <= row["test"].keys()
        assert row["samples_seen"] == 8 * 32
        assert row["seconds"] > 0
    assert summary["control"]["samples_seen"] == summary["rounds"][-1]["samples_seen"]
    verdict = summary["verdict"]
    assert verdict["source"] == "test"
    assert verdict["labels"] == 500
    assert verdict["decision"] in ("keep", "roll back", "cannot tell")
    low, high = verdict["interval"]
    assert low <= verdict["difference"] <= high
    expected = summary["rounds"][-1]["test"]["top1"] - summary["control"]["test"]["top1"]
    assert verdict["difference"] == pytest.approx(expected)


def test_the_delivered_model_is_the_last_student(finished):
    folder, summary = finished
    assert summary["delivered"] == "round-2"
    assert weights(folder / "best") == weights(folder / "round-2" / "student")
    assert load_classifier(folder / "best").classes == tuple("0123456789")


def test_the_curriculum_takes_a_fifth_more_each_round(finished):
    folder, summary = finished
    for each in summary["rounds"]:
        selection = json.loads((folder / f"round-{each['round']}/selection/summary.json").read_text())
        for row in selection["per_class"]:
            assert row["selected"] == np.ceil(0.2 * each["round"] * row["predicted"] - 1e-9)
        assert each["selected"] == sum(row["selected"] for row in selection["per_class"])


@pytest.mark.parametrize(("labels", "selected", "kind"), [(49, 0.2, "hard"), (50, 1.0, "soft")])
def test_from_fifty_labels_a_class_a_student_takes_the_whole_pile_by_its_soft_labels(labels, selected, kind):
    settings = opening.settled(resolve({"labeled": "unused", "out": "unused"}).settings, labels)
    assert (settings.selection.fraction, settings.objective.labels) == (selected, kind)


def test_the_number_of_labels_is_that_of_the_class_that_has_the_fewest(tmp_path):
    digits = load_digits()
    few = np.concatenate([np.flatnonzero(digits.target == label)[: 50 - (label == 3)] for label in range(10)])
    for name, rows in (("few", few), ("more", np.append(few, np.flatnonzero(digits.target == 3)[60]))):
        pixels = (digits.images[rows] * 15).astype(np.uint8)
        np.savez(tmp_path / f"{name}.npz", x=pixels, y=digits.target[rows].astype(np.int64))
    quick = {"data__few_labels": 100, "rounds__count": 1, "rounds__control": False, "train__steps": 2}
    for name, share in (("few", 0.2), ("more", 1.0)):
        folder = tmp_path / name
        summary = run(folder, labeled=str(tmp_path / f"{name}.npz"), **quick)
        assert summary["rounds"][0]["selected"] == pytest.approx(share * 1257, abs=10)
        assert json.loads((folder / "run.json").read_text())["settings"]["selection"]["fraction"] == share
        settings = json.loads((folder / "round-1/student/manifest.json").read_text())["inputs"]["objective"]
        assert settings["labels"] == ("soft" if share == 1.0 else "hard")


def test_predictions_are_the_teachers_own(finished):
    folder, _ = finished
    table = pq.read_table(folder / "round-1/predictions/part-00000.parquet")
    probabilities = np.exp(np.array(table["log_probabilities"].to_pylist()))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), table["prediction"].to_numpy())
    rows = sum(pq.read_metadata(path).num_rows for path in (folder / "round-1/predictions").glob("part-*.parquet"))
    left_out = json.loads((folder / "run.json").read_text())["sources"]["unlabeled"]["left_out"]
    assert rows == 1257 - len(left_out) >= 1250


def test_the_same_command_again_does_nothing_and_says_the_same(finished):
    folder, summary = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("model.safetensors")}
    again = run(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("model.safetensors")} == before
    assert {**again, "cost": None} == {**summary, "cost": None}


def test_another_run_of_the_same_command_has_the_same_bits(finished, tmp_path):
    folder, _ = finished
    run(tmp_path)
    for name in ("teacher", "round-2/student", "control"):
        assert weights(tmp_path / name) == weights(folder / name)


def test_a_changed_setting_redoes_only_what_depends_on_it(tmp_path, capsys):
    run(tmp_path)
    teacher = (tmp_path / "teacher/model.safetensors").stat().st_mtime_ns
    student = weights(tmp_path / "round-1/student")
    given = {"labeled": "digits:labeled", "unlabeled": "digits:unlabeled", "test": "digits:test"}
    noisystudent.run(out=str(tmp_path), settings={**SMALL, "selection.fraction": 0.5}, **given)
    said = capsys.readouterr().err
    assert "round-1/selection: made again" in said
    assert "selection.fraction: 0.2 -> 0.5" in said
    assert "teacher: done before" in said
    assert (tmp_path / "teacher/model.safetensors").stat().st_mtime_ns == teacher
    assert weights(tmp_path / "round-1/student") != student
    run(tmp_path)
    assert weights(tmp_path / "round-1/student") == student


def test_more_rounds_build_on_the_old_ones(tmp_path):
    run(tmp_path, rounds__count=1)
    first = (tmp_path / "round-1/student/model.safetensors").stat().st_mtime_ns
    summary = run(tmp_path, rounds__count=2)
    assert len(summary["rounds"]) == 2
    assert (tmp_path / "round-1/student/model.safetensors").stat().st_mtime_ns == first


def test_true_classes_of_the_pile_reach_the_report_and_nothing_else(finished, tmp_path, monkeypatch):
    folder, summary = finished
    assert 0 <= summary["rounds"][0]["pseudo_labels"]["pseudo_label_top1"] <= 1
    truth = ArraySource.truth

    def shuffled(self, classes):
        known = truth(self, classes)
        return known and dict(zip(known, reversed(list(known.values())), strict=True))

    monkeypatch.setattr(ArraySource, "truth", shuffled)
    lied_to = run(tmp_path)
    assert lied_to["rounds"][0]["pseudo_labels"] != summary["rounds"][0]["pseudo_labels"]
    assert weights(tmp_path / "round-2/student") == weights(folder / "round-2/student")


def test_without_held_out_labels_the_verdict_cannot_tell(tmp_path):
    summary = run(tmp_path, test=None, rounds__count=1)
    assert summary["verdict"]["decision"] == "cannot tell"
    assert summary["verdict"]["labels"] == 0
    assert summary["student"]["test"] is None
    assert summary["rounds"][0]["diagnostics"]["mean_confidence"] > 0


def test_enough_labels_give_a_validation_part(tmp_path):
    summary = run(tmp_path, labeled="digits:unlabeled", unlabeled="digits:labeled", test=None, rounds__count=1)
    assert summary["verdict"]["source"] == "validation"
    assert summary["verdict"]["labels"] == summary["student"]["validation"]["count"] >= 200


def test_the_paper_recipe_chooses_once_and_labels_again(tmp_path):
    summary = run(tmp_path, recipe="paper", rounds__count=2, selection__threshold=0.1)
    selected, predicted = (
        [pq.read_table(tmp_path / f"round-{number}/{kind}/part-00000.parquet") for number in (1, 2)]
        for kind in ("selection", "predictions")
    )
    assert selected[0]["copies"].equals(selected[1]["copies"])
    assert not predicted[0]["confidence"].equals(predicted[1]["confidence"])
    assert summary["rounds"][1]["copies"] == summary["rounds"][0]["copies"]


def test_the_noise_is_chosen_by_cross_fitting_when_labels_are_few(tmp_path):
    run(tmp_path, noise__strength="auto", noise__strengths=[0.25, 1.0], rounds__count=1)
    choice = json.loads((tmp_path / "strength/summary.json").read_text())
    assert choice["by"] == "cross-fitting"
    assert [each["labels"] for each in choice["candidates"]] == [40, 40]
    assert choice["chosen"] == min(
        each["strength"] for each in choice["candidates"] if each["behind"] <= 2 * each["standard_error"]
    )


def judged(correct: int, labels: int = 100) -> HeldOutPredictions:
    """Labels of class 0, the first ``correct`` of them predicted."""
    p = np.where(np.arange(labels) < correct, 0.9, 0.2)
    return HeldOutPredictions(
        tuple(map(str, range(labels))), np.zeros(labels, np.int64), np.log(np.stack([p, 1 - p], axis=1))
    )


def test_the_weakest_noise_is_taken_that_is_within_two_standard_errors_of_the_best():
    far, near, best = compare_strengths({0.1: judged(80), 0.25: judged(87), 1.0: judged(90)})
    assert near.behind == pytest.approx(0.03)
    # Three of a hundred labels differ, all one way: the standard deviation of a share of 0.03.
    assert near.standard_error == pytest.approx((0.03 * 0.97 / 99) ** 0.5)
    assert best.behind == best.standard_error == 0
    assert far.behind > 2 * far.standard_error
    assert weakest_as_good([far, near, best]) == 0.25
    assert weakest_as_good([far, best]) == 1.0


def test_a_round_that_validation_shows_to_be_worse_is_rolled_back(tmp_path, monkeypatch):
    monkeypatch.setattr(rounds, "is_worse", lambda student, other, p: student.round == 2)
    summary = run(tmp_path, labeled="digits:unlabeled", unlabeled="digits:labeled", rounds__count=2)
    assert [each["rolled_back"] for each in summary["rounds"]] == [False, True]
    assert summary["delivered"] == "round-1"
    assert weights(tmp_path / "best") == weights(tmp_path / "round-1/student")


def test_students_may_grow(tmp_path):
    summary = run(tmp_path, model__teacher="tiny_resnet", model__students=["resnet_small_20"], rounds__count=1)
    assert summary["teacher"]["model"] == "tiny_resnet"
    assert summary["rounds"][0]["model"] == summary["control"]["model"] == "resnet_small_20"


def test_warm_start_starts_from_the_teacher_and_needs_its_model(tmp_path):
    warm = run(tmp_path / "warm", train__warm_start=True, train__learning_rate=1e-9, rounds__count=1)
    before, after = (load_classifier(tmp_path / "warm" / name) for name in ("teacher", "round-1/student"))
    weight = "net.classifier.weight"
    np.testing.assert_allclose(before.state_dict()[weight], after.state_dict()[weight], atol=1e-6)
    assert warm["rounds"][0]["test"]["count"] == 500
    with pytest.raises(ModelError, match="warm_start"):
        run(tmp_path / "other", train__warm_start=True, model__students=["resnet_small_20"])


def test_a_threshold_that_nothing_reaches_is_an_error_with_a_way_out(tmp_path):
    with pytest.raises(TrainingError, match=r"no pseudo label was selected.*lower selection\.threshold"):
        run(tmp_path, selection__rule="threshold", selection__threshold=0.9999)


def test_run_without_a_pile_points_to_train(tmp_path):
    with pytest.raises(SettingsError, match="noisystudent train"):
        noisystudent.run(labeled="digits:labeled", out=str(tmp_path), quiet=True)


def test_the_plan_follows_the_run(tmp_path):
    arguments = {"labeled": "digits:labeled", "unlabeled": "digits:unlabeled", "test": "digits:test"}
    settings = {**SMALL, "rounds.count": 1}
    before = noisystudent.plan(**arguments, out=str(tmp_path / "run"), settings=settings, quiet=True)
    assert [stage.state for stage in before] == [State.ABSENT] * len(before)
    assert not (tmp_path / "run").exists()
    assert sum(stage.samples_seen for stage in before) == 3 * 8 * 32
    assert all(stage.seconds > 0 for stage in before if stage.samples_seen)
    noisystudent.run(**arguments, out=str(tmp_path / "run"), settings=settings, quiet=True)
    after = noisystudent.plan(**arguments, out=str(tmp_path / "run"), settings=settings, quiet=True)
    assert {stage.state for stage in after} == {State.COMPLETE}
    more = noisystudent.plan(
        **arguments, out=str(tmp_path / "run"), settings={**settings, "rounds.count": 2}, quiet=True
    )
    undone = [stage.name for stage in more if stage.state is not State.COMPLETE]
    assert undone[0] == "round-2/predictions"
    changed = noisystudent.plan(
        **arguments, out=str(tmp_path / "run"), settings={**settings, "objective.labels": "soft"}, quiet=True
    )
    assert next(stage for stage in changed if stage.state is State.STALE).name == "round-1/student"
