"""Whole runs on the digits, small enough for every day: their artifacts, what is reused and what is trained anew."""

import json
import shutil
import time
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

import noisystudent
from noisystudent.artifacts.folder import verify
from noisystudent.artifacts.typed_json import read_result, to_json
from noisystudent.data.sources.arrays import ArraySource
from noisystudent.errors import ModelError, SettingsError, TrainingError
from noisystudent.models.checkpoint import load_classifier
from noisystudent.pipeline import noisy_student, plan_timing
from noisystudent.pseudo_labels import predictions
from noisystudent.pseudo_labels.selection.results import SelectionSummary
from noisystudent.results.facts import StrengthChoice
from noisystudent.results.run import Cost, RunSummary
from small_runs import DIGITS, SMALL, weights

MANY_LABELS = {"labeled": "digits:unlabeled", "unlabeled": "digits:labeled"}  # enough to hold out a validation set


def run(folder, **changes) -> noisystudent.Run:
    settings = {**SMALL, **{name.replace("__", "."): value for name, value in changes.items()}}
    sources = {role: settings.pop(role, source) for role, source in DIGITS.items()}
    return noisystudent.run(**sources, out=folder, settings=settings, quiet=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> noisystudent.Run:
    return run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def one_round(tmp_path_factory) -> noisystudent.Run:
    return run(tmp_path_factory.mktemp("one-round"), rounds__count=1)


def copied(finished: noisystudent.Run, folder):
    """A copy of a finished run that a test may change."""
    return shutil.copytree(finished.path, folder / "copy")


def modified(checkpoint) -> int:
    return (checkpoint / "model.safetensors").stat().st_mtime_ns


def test_a_noised_teacher_changes_the_labels_and_nothing_before_them(finished, tmp_path):
    noised = run(tmp_path, noise__teacher=True, rounds__count=1, rounds__controls=0)
    assert weights(finished.path / "teacher") == weights(noised.path / "teacher")
    manifest = json.loads((tmp_path / "round-1/predictions/manifest.json").read_text())
    assert manifest["inputs"]["view"]["strength"] == 0.25
    keys, plain = predictions.read_all(finished.path / "round-1/predictions", 10)
    same_keys, of_views = predictions.read_all(tmp_path / "round-1/predictions", 10)
    assert keys == same_keys
    assert np.abs(np.exp(plain) - np.exp(of_views)).max() > 0.01


def test_a_run_leaves_everything_that_it_promises(finished):
    folder = finished.path
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
    assert json.loads((folder / "summary.json").read_text()) == to_json(finished.summary)
    assert read_result(RunSummary, folder / "summary.json") == finished.summary
    page = finished.report.read_text()
    assert len(page) > 10_000
    assert "Training images under noise" in page
    assert json.loads((folder / "run.json").read_text())["origins"]["train.steps"] == "arguments"


def test_the_summary_holds_scores_verdict_and_cost(finished):
    for model in (finished.teacher, finished.control, finished.student, *finished.rounds):
        assert None not in (model.test.top1, model.test.top5, model.test.ece, model.test.nll, model.test.brier)
        assert model.samples_seen == 8 * 32
        assert model.seconds > 0
    assert finished.control.samples_seen == finished.rounds[-1].samples_seen
    verdict = finished.verdict
    assert verdict.source == "test"
    assert verdict.labels == 500
    assert verdict.decision in ("keep", "worse", "no clear gain")
    low, high = verdict.interval
    assert low <= verdict.difference <= high
    assert verdict.difference == pytest.approx(
        finished.rounds[-1].test.top1 - (finished.control.test.top1 + finished.teacher.test.top1) / 2
    )


def test_the_delivered_model_is_the_last_student(finished):
    assert finished.summary.delivered == "round-2"
    assert weights(finished.path / "best") == weights(finished.path / "round-2" / "student")
    assert load_classifier(finished.path / "best").classes == tuple("0123456789")


def test_the_curriculum_selects_a_fifth_more_each_round(finished):
    for result in finished.rounds:
        selection = read_result(SelectionSummary, finished.path / f"round-{result.round}/selection/summary.json")
        for row in selection.per_class:
            assert row.selected == np.ceil(0.2 * result.round * row.predicted - 1e-9)
        assert result.selected == sum(row.selected for row in selection.per_class)


def test_the_number_of_labels_is_that_of_the_class_that_has_the_fewest(tmp_path):
    digits = load_digits()
    few = np.concatenate([np.flatnonzero(digits.target == label)[: 50 - (label == 3)] for label in range(10)])
    for name, rows in (("few", few), ("more", np.append(few, np.flatnonzero(digits.target == 3)[60]))):
        pixels = (digits.images[rows] * 15).astype(np.uint8)
        np.savez(tmp_path / f"{name}.npz", x=pixels, y=digits.target[rows].astype(np.int64))
    # Without a test source, some of whose images are among these.
    quick = {"test": None, "data__few_labels": 100, "rounds__count": 1, "rounds__controls": 0, "train__steps": 2}
    for name, share in (("few", 0.2), ("more", 1.0)):
        folder = tmp_path / name
        finished = run(folder, labeled=str(tmp_path / f"{name}.npz"), **quick)
        assert finished.rounds[0].selected == pytest.approx(share * 1257, abs=10)
        assert finished.facts.settings["selection"]["fraction"] == share
        settings = json.loads((folder / "round-1/student/manifest.json").read_text())["inputs"]["objective"]
        assert settings["labels"] == ("soft" if share == 1.0 else "hard")


def test_predictions_are_the_teachers_own(finished):
    table = pq.read_table(finished.path / "round-1/predictions/part-00000.parquet")
    probabilities = np.exp(np.array(table["log_probabilities"].to_pylist()))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), table["prediction"].to_numpy())
    parts = (finished.path / "round-1/predictions").glob("part-*.parquet")
    rows = sum(pq.read_metadata(path).num_rows for path in parts)
    assert rows == 1257 - len(finished.facts.sources["unlabeled"].left_out) >= 1250


def test_the_same_command_again_trains_nothing_and_returns_the_same(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("model.safetensors")}
    again = run(finished.path)
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("model.safetensors")} == before
    assert replace(again.summary, cost=Cost()) == replace(finished.summary, cost=Cost())


def test_another_run_of_the_same_command_has_the_same_bits(finished, tmp_path):
    run(tmp_path)
    for name in ("teacher", "round-2/student", "control"):
        assert weights(tmp_path / name) == weights(finished.path / name)


def test_a_changed_setting_redoes_only_what_depends_on_it(finished, tmp_path, capsys):
    folder = copied(finished, tmp_path)
    teacher = modified(folder / "teacher")
    student = weights(folder / "round-1/student")
    noisystudent.run(**DIGITS, out=folder, settings={**SMALL, "selection.fraction": 0.5})
    progress = capsys.readouterr().err
    assert "round-1/selection: made again" in progress
    assert "selection.fraction: 0.2 -> 0.5" in progress
    assert "teacher: done before" in progress
    assert modified(folder / "teacher") == teacher
    assert weights(folder / "round-1/student") != student
    run(folder)
    assert weights(folder / "round-1/student") == student


def test_more_rounds_build_on_the_old_ones(one_round, tmp_path):
    folder = copied(one_round, tmp_path)
    first = modified(folder / "round-1/student")
    assert len(run(folder, rounds__count=2).rounds) == 2
    assert modified(folder / "round-1/student") == first


def test_true_classes_of_the_unlabeled_set_reach_the_report_and_nothing_else(finished, tmp_path, monkeypatch):
    assert 0 <= finished.rounds[0].pseudo_labels["pseudo_label_top1"] <= 1
    truth = ArraySource.truth

    def reversed_truth(self, classes):
        known = truth(self, classes)
        return known and dict(zip(known, reversed(list(known.values())), strict=True))

    monkeypatch.setattr(ArraySource, "truth", reversed_truth)
    misled = run(tmp_path, rounds__controls=0)
    assert misled.rounds[0].pseudo_labels != finished.rounds[0].pseudo_labels
    assert weights(tmp_path / "round-2/student") == weights(finished.path / "round-2/student")


def test_without_held_out_labels_the_verdict_has_no_answer(tmp_path):
    finished = run(tmp_path, test=None, rounds__count=1)
    assert finished.verdict.decision == "no clear gain"
    assert finished.verdict.labels == 0
    assert finished.student.test is None
    assert finished.rounds[0].diagnostics["mean_confidence"] > 0


def test_enough_labels_give_a_validation_set(tmp_path):
    finished = run(tmp_path, **MANY_LABELS, test=None, rounds__count=1)
    assert finished.verdict.source == "validation"
    assert finished.verdict.labels == finished.student.validation.count >= 200
    calibration = finished.model.calibration
    assert (calibration.labels, calibration.fitted_on) == (finished.verdict.labels, "validation labels")


def test_the_paper_recipe_selects_once_and_labels_again(tmp_path):
    finished = run(tmp_path, recipe="paper", rounds__count=2, rounds__controls=0, selection__threshold=0.1)
    selected, predicted = (
        [pq.read_table(tmp_path / f"round-{number}/{kind}/part-00000.parquet") for number in (1, 2)]
        for kind in ("selection", "predictions")
    )
    assert selected[0]["copies"].equals(selected[1]["copies"])
    assert not predicted[0]["confidence"].equals(predicted[1]["confidence"])
    assert finished.rounds[1].copies == finished.rounds[0].copies


def test_the_noise_is_chosen_by_cross_fitting_when_labels_are_few(tmp_path):
    run(tmp_path, noise__strength="auto", noise__strengths=[0.25, 1.0], rounds__count=1, rounds__controls=0)
    choice = read_result(StrengthChoice, tmp_path / "strength/choice/summary.json")
    assert choice.by == "cross-fitting"
    assert [candidate.labels for candidate in choice.candidates] == [40, 40]
    assert choice.chosen == min(
        candidate.strength for candidate in choice.candidates if candidate.behind <= 2 * candidate.standard_error
    )


def test_a_round_that_validation_shows_to_be_worse_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(noisy_student, "is_worse", lambda student, other, p: student.round == 2)
    finished = run(tmp_path, **MANY_LABELS, rounds__count=2)
    assert [result.worse for result in finished.rounds] == [False, True]
    assert finished.summary.delivered == "round-1"
    assert weights(tmp_path / "best") == weights(tmp_path / "round-1/student")


def test_a_smaller_student_is_announced_and_a_larger_one_is_not(tmp_path, capsys):
    quick = {**SMALL, "rounds.count": 2, "rounds.controls": 0, "train.steps": 1}
    models = {"model.teacher": "resnet_small_8", "model.students": ["tiny_resnet", "resnet_small_20"]}
    noisystudent.run(**DIGITS, out=tmp_path, settings={**quick, **models})
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: the student")]
    assert len(notes) == 1
    assert "round 2, resnet_small_20 with" in notes[0]


def test_students_may_grow(tmp_path):
    finished = run(tmp_path, model__teacher="tiny_resnet", model__students=["resnet_small_20"], rounds__count=1)
    assert finished.teacher.model == "tiny_resnet"
    assert finished.rounds[0].model == finished.control.model == "resnet_small_20"


def test_warm_start_starts_from_the_teacher_and_needs_its_model(tmp_path):
    quick = {"rounds__count": 1, "rounds__controls": 0}
    warm = run(tmp_path / "warm", train__warm_start=True, train__learning_rate=1e-9, **quick)
    before, after = (load_classifier(tmp_path / "warm" / name) for name in ("teacher", "round-1/student"))
    weight = "net.classifier.weight"
    np.testing.assert_allclose(before.state_dict()[weight], after.state_dict()[weight], atol=1e-6)
    assert warm.rounds[0].test.count == 500
    with pytest.raises(ModelError, match="warm_start"):
        run(tmp_path / "other", train__warm_start=True, model__students=["resnet_small_20"], **quick)


def test_a_threshold_that_nothing_reaches_is_an_error_with_a_way_out(tmp_path):
    with pytest.raises(TrainingError, match=r"no pseudo label was selected.*lower selection\.threshold"):
        run(tmp_path, selection__rule="threshold", selection__threshold=0.9999)


def test_run_without_unlabeled_images_points_to_train(tmp_path):
    with pytest.raises(SettingsError, match="noisystudent train"):
        noisystudent.run(labeled="digits:labeled", out=str(tmp_path), quiet=True)


def test_the_plan_of_a_new_run_writes_nothing_and_estimates_every_stage(tmp_path):
    settings = {**SMALL, "rounds.count": 1}
    plan = noisystudent.plan(**DIGITS, out=tmp_path / "run", settings=settings, quiet=True)
    assert [stage.state for stage in plan.stages] == ["absent"] * len(plan.stages)
    assert not (tmp_path / "run").exists()
    assert sum(stage.samples_seen for stage in plan.stages) == plan.samples_left == 3 * 8 * 32
    assert all(stage.seconds > 0 for stage in plan.stages if stage.samples_seen or stage.images_predicted)
    assert plan.stages[-1].name == "other"
    assert plan.stages[-1].seconds > 0


def test_a_plan_times_its_steps_in_the_loop_at_the_precision_that_will_run(tmp_path, monkeypatch):
    precisions, fit = [], plan_timing.fit

    def counted(*arguments, engine, **more):
        precisions.append(engine.precision)
        return fit(*arguments, engine=engine, **more)

    monkeypatch.setattr(plan_timing, "fit", counted)
    settings = {**SMALL, "rounds.count": 1, "runtime.precision": "bfloat16"}
    noisystudent.plan(**DIGITS, out=tmp_path / "run", settings=settings, quiet=True)
    assert precisions == ["bfloat16"]  # teacher, student and control are one model
    assert not (tmp_path / "run").exists()


SEARCHED = {"noise.strength": "auto", "noise.strengths": [0.25, 1.0], "rounds.count": 1}
COUNTED = {
    "cross-fitting": SEARCHED,
    "validation": {**MANY_LABELS, "train.evaluate_every": 3, "train.steps": 45, **SEARCHED},
    "stopped early": {"train.stop_after": 5, **SEARCHED},
    "online teacher": {"distillation.method": "kd", "rounds.controls": 0},
    "cached teacher": {"distillation.method": "kd", "distillation.teacher_logits": "cached"},
    "views": {"distillation.method": "kd", "distillation.teacher_logits": "cached_views"},
    "streamed": {"data.streaming": "always"},
}


@pytest.mark.parametrize("settings", COUNTED.values(), ids=COUNTED)
def test_the_run_reports_the_samples_and_predictions_that_the_plan_announced(settings, tmp_path):
    settings = {**settings, "data.near_duplicates": "none"}  # a plan does not know which images are also held out
    changes = {name.replace(".", "__"): value for name, value in settings.items()}
    given = {**SMALL, **settings}
    sources = {role: given.pop(role, source) for role, source in DIGITS.items()}
    plan = noisystudent.plan(**sources, out=tmp_path, settings=given, quiet=True)
    started = time.monotonic()
    cost = run(tmp_path, **changes).summary.cost
    elapsed = time.monotonic() - started
    assert cost.samples_seen == plan.samples_left == sum(stage.samples_seen for stage in plan.stages)
    assert cost.images_predicted == plan.predicted_left
    assert 0.8 * elapsed < cost.seconds <= elapsed
    assert plan.seconds_left > 0


def test_the_cost_is_the_sum_of_what_the_stages_recorded(finished):
    cost, records = finished.summary.cost, {}
    for path in finished.path.rglob("cost.json"):
        records[path.parent.relative_to(finished.path).as_posix()] = json.loads(path.read_text())
    assert {stage.name for stage in cost.stages} == {*records, "other"}
    for stage in cost.stages[:-1]:
        assert to_json(stage) == records[stage.name]
    other = cost.stages[-1].seconds
    assert cost.seconds == pytest.approx(other + sum(record["seconds"] for record in records.values()), abs=0.01)
    assert cost.samples_seen == sum(record["samples_seen"] for record in records.values()) == 4 * 8 * 32
    assert cost.images_predicted == sum(record["images_predicted"] for record in records.values())
    for number in (1, 2):
        rows = json.loads((finished.path / f"round-{number}/predictions/summary.json").read_text())["images"]
        assert records[f"round-{number}/predictions"]["images_predicted"] == rows


def test_the_card_of_a_model_may_be_edited(one_round, tmp_path):
    folder = copied(one_round, tmp_path)
    (folder / "best/README.md").write_text("# My model\n")
    (folder / "teacher/README.md").unlink()
    before = modified(folder / "teacher")
    run(folder, rounds__count=1)
    assert modified(folder / "teacher") == before
    assert (folder / "best/README.md").read_text() == "# My model\n"
    assert noisystudent.load(folder).classes == tuple("0123456789")


def test_finished_stages_keep_their_cost_when_a_run_goes_on(one_round, tmp_path):
    folder = copied(one_round, tmp_path)
    before = {stage.name: stage for stage in one_round.summary.cost.stages}
    more = {stage.name: stage for stage in run(folder, rounds__count=2).summary.cost.stages}
    assert more["teacher"] == before["teacher"]
    assert more["round-1/student"] == before["round-1/student"]
    assert more["round-2/student"].samples_seen == 8 * 32


def test_the_plan_of_a_finished_run_names_what_another_setting_would_redo(one_round):
    def plan(**changes) -> tuple[noisystudent.PlanResult, list[str]]:
        settings = {**SMALL, "rounds.count": 1, **{name.replace("__", "."): value for name, value in changes.items()}}
        result = noisystudent.plan(**DIGITS, out=one_round.path, settings=settings, quiet=True)
        return result, [stage.name for stage in result.stages if stage.state != "complete"]

    same, left = plan()
    assert (left, same.samples_left, same.seconds_left) == ([], 0, 0)
    _, left = plan(rounds__count=2)
    assert left[0] == "round-2/predictions"
    changed, _ = plan(objective__labels="soft")
    assert next(stage for stage in changed.stages if stage.state == "stale").name == "round-1/student"
