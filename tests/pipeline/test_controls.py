"""Controls of whole runs: how long they train, what the verdict compares, what is delivered and what is said."""

import json

import pytest

import noisystudent
from noisystudent.errors import SettingsError
from noisystudent.pipeline import delivery, noisy_student
from noisystudent.reporting.terminal import closing_lines
from small_runs import DIGITS, SMALL, weights

WARM = {**SMALL, "train.warm_start": True, "rounds.controls": 3}
VALIDATED = {"labeled": "digits:unlabeled", "unlabeled": "digits:labeled"}
SET_ASIDE = {**SMALL, "data.few_labels_beside_test": 25}  # of those labels, some for validation
STAGE = 8 * 32  # samples


def run(folder, settings, **sources) -> noisystudent.Run:
    return noisystudent.run(**{**DIGITS, **sources}, out=folder, settings=settings, quiet=True)


@pytest.fixture(scope="module")
def warm(tmp_path_factory) -> noisystudent.Run:
    return run(tmp_path_factory.mktemp("warm"), WARM)


def top1(finished: noisystudent.Run, *names: str) -> float:
    """The mean test accuracy of some stages of a run."""
    scores = [json.loads((finished.path / "scores" / name / "scores.json").read_text()) for name in names]
    return sum(score["test"]["top1"] for score in scores) / len(scores)


def test_a_control_sees_as_many_samples_as_the_students_weights_did(warm):
    seen = {}
    for name in ("teacher", "round-1/student", "round-2/student", "control", "control-2", "control-3"):
        training = json.loads((warm.path / name / "training.json").read_text())
        seen[name] = (training["samples_seen"] // STAGE, training["weights_samples_seen"] // STAGE)
    one_stage = {"teacher": (1, 1), "round-1/student": (1, 2), "round-2/student": (1, 3)}
    assert seen == {**one_stage, "control": (3, 3), "control-2": (3, 3), "control-3": (3, 3)}
    assert len({weights(warm.path / name) for name in ("control", "control-2", "control-3")}) == 3
    rates = [
        json.loads(line)["learning_rate"] for line in (warm.path / "control/metrics.jsonl").read_text().splitlines()
    ]
    assert rates[-1] < 1e-4  # one schedule over all steps, to its end


def test_the_verdict_of_warm_starts_leaves_the_teacher_out(warm):
    assert warm.verdict.controls == 3
    mean = top1(warm, "control", "control-2", "control-3")
    assert warm.verdict.difference == pytest.approx(top1(warm, "round-2") - mean)
    assert [model.name for model in warm.summary.further_controls] == ["control 2", "control 3"]
    assert "control, control 2 and control 3. The teacher is not one of them" in warm.report.read_text()


def test_plan_lists_every_control_with_its_true_cost(warm, tmp_path):
    for settings, finished in ((WARM, warm), (SMALL, run(tmp_path / "cold", SMALL))):
        planned = noisystudent.plan(**DIGITS, out=tmp_path / "planned", settings=settings, quiet=True)
        costs = {stage.name: stage for stage in finished.summary.cost.stages}
        controls = [stage for stage in planned.stages if "control" in stage.name]
        assert [stage.name for stage in controls] == [name for name in costs if "control" in name]
        for stage in controls:
            assert stage.samples_seen == costs[stage.name].samples_seen
            assert stage.images_predicted == costs[stage.name].images_predicted


def test_a_teacher_that_was_trained_as_a_control_is_one(tmp_path):
    finished = run(tmp_path, SMALL)
    assert not (tmp_path / "control-2").exists()
    assert finished.verdict.controls == 2
    assert finished.verdict.difference == pytest.approx(
        top1(finished, "round-2") - top1(finished, "control", "teacher")
    )
    assert "control and the teacher" in closing_lines(finished.summary, tmp_path)[0]
    alone = run(tmp_path, {**SMALL, "rounds.controls": 1})
    assert alone.verdict.controls == 1
    assert alone.verdict.difference == pytest.approx(top1(alone, "round-2") - top1(alone, "control"))
    larger = run(tmp_path, {**SMALL, "model.students": ["resnet_small_8"]})
    assert larger.verdict.controls == 2
    assert larger.summary.further_controls[0].model == "resnet_small_8"


def test_the_switch_that_the_setting_once_was_is_refused_with_what_is_allowed(tmp_path):
    with pytest.raises(SettingsError, match=r"rounds\.control .*False.*give samples, steps or both"):
        run(tmp_path, {**SMALL, "rounds.control": False})


def test_validation_delivers_the_best_labels_only_model_if_it_is_better(tmp_path, monkeypatch):
    monkeypatch.setattr(delivery, "is_worse", lambda student, other, p: True)
    finished = run(tmp_path, {**SET_ASIDE, "rounds.count": 1}, **VALIDATED)
    best = max((finished.teacher, finished.control), key=lambda model: model.validation.top1)
    assert finished.summary.delivered == best.name
    assert weights(tmp_path / "best") == weights(tmp_path / best.name)
    assert finished.summary.delivery.chosen_by == "validation"
    assert finished.verdict.difference is not None  # on the student that was not delivered
    assert f"it is the labels-only {best.name}" in finished.report.read_text()


def test_if_every_round_is_worse_the_verdict_is_on_the_last_student(tmp_path, monkeypatch):
    monkeypatch.setattr(noisy_student, "is_worse", lambda student, other, p: True)
    finished = run(tmp_path, SET_ASIDE, **VALIDATED)
    assert finished.summary.delivered == "teacher"
    assert finished.verdict.source == "test"
    assert finished.verdict.difference == pytest.approx(
        top1(finished, "round-2") - top1(finished, "control", "teacher")
    )
    assert "Use best: it is the labels-only teacher" in finished.report.read_text()


def test_without_validation_the_alternatives_are_named_in_the_first_screen(warm):
    above = warm.summary.delivery.labels_only_above
    assert warm.summary.delivery.chosen_by == "nothing"
    expected = {
        name for name in ("teacher", "control", "control-2", "control-3") if top1(warm, name) > top1(warm, "round-2")
    }
    assert set(above) == expected
    assert expected  # the controls of this run have three times the steps
    header = warm.report.read_text().split("</header>")[0]
    last = closing_lines(warm.summary, warm.path)[-1]
    for name in expected:
        assert f"{name} ({100 * above[name]:.1f}%)" in header
        assert f"{warm.path}/{name} (" in last


def test_drift_is_printed_and_in_the_summary_and_on_the_page(tmp_path, monkeypatch, capsys):
    sign = "class '1' swells round after round: 56, 130, 226 of 1,257 images"
    monkeypatch.setattr(noisystudent.pipeline.labels.pseudo_labels, "signs_of_drift", lambda *_: (sign,))
    settings = {**SMALL, "rounds.count": 1, "rounds.controls": 0}
    finished = noisystudent.run(**DIGITS, out=tmp_path, settings=settings)
    assert f"round 1: a sign of drift: {sign}" in capsys.readouterr().err
    assert [result.drift for result in finished.rounds] == [(sign,)]
    assert json.loads((tmp_path / "round-1/scores.json").read_text())["drift"] == [sign]
    assert finished.report.read_text().split("</header>")[0].count("swells round after round") == 1
