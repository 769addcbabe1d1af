"""Runs with an online student: after rounds, or alone, from scratch or from weights; planned, killed and resumed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import noisystudent as ns
from noisystudent.artifacts.typed_json import read_result
from noisystudent.data.sources.open import open_source
from noisystudent.errors import ModelError, SettingsError
from noisystudent.results.facts import StudentChoice
from noisystudent.training.online import TwoViewBatches
from small_runs import DIGITS, SMALL, weights

ONLINE = {
    **{name: value for name, value in SMALL.items() if name != "rounds.count"},
    "recipe": "online",
    "data.near_duplicates": "none",
    "budget": "none",
}


def run(out: Path, **values: object) -> ns.Run:
    given = {name.replace("__", "."): value for name, value in values.items()}
    return ns.run(**DIGITS, out=out, settings={**ONLINE, **given}, quiet=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> ns.Run:
    return run(tmp_path_factory.mktemp("alone"))


def test_a_run_without_rounds_has_one_online_student_and_a_verdict(alone):
    summary = alone.summary
    assert [student.name for student in summary.rounds] == ["online"]
    assert summary.delivered == "online"
    assert summary.rounds[0].samples_seen == 8 * 32
    assert summary.control.samples_seen == 8 * 32
    assert summary.verdict.difference is not None
    assert summary.further_controls == ()  # the teacher, trained alike, is the second one
    assert not (alone.path / "round-1").exists()
    assert weights(alone.path / "best") == weights(alone.path / "online" / "student")


def test_the_page_says_how_the_online_student_learned(alone):
    page = (alone.path / "report.html").read_text()
    assert "learned at each step from the answers of its averaged weights to weak views of the unlabeled images" in page
    assert "Examples of pseudo labels" not in page


def test_metrics_say_how_many_images_counted(alone):
    (row,) = [json.loads(line) for line in (alone.path / "online/student/metrics.jsonl").read_text().splitlines()]
    assert {"loss", "labeled", "unlabeled", "used"} <= row.keys()


CHOOSING = {"online.weak_teacher": "round", "train.warm_start": True, "rounds.controls": 0}


@pytest.mark.parametrize(("threshold", "student"), [(0.95, "round"), (0.11, "online")])
def test_a_weak_teacher_makes_the_student_learn_stored_soft_labels_in_a_round(tmp_path, threshold, student):
    given = {**ONLINE, **CHOOSING, "online.threshold": threshold}
    summary = ns.run(**DIGITS, out=tmp_path, settings=given, quiet=True).summary
    choice = read_result(StudentChoice, tmp_path / "student-choice/summary.json")
    assert (choice.threshold, choice.student) == (threshold, student)
    source = open_source(DIGITS["unlabeled"], labeled=False)
    images = np.stack([record.image for shard in range(len(source.shard_sizes)) for record in source.read(shard)])
    confidences = ns.load(tmp_path / "teacher").predict_proba(images).max(axis=1)
    assert choice.images == len(confidences)
    assert choice.sure == pytest.approx((confidences >= threshold).sum(), abs=2)  # of equal images, some rounds apart
    assert (choice.sure >= choice.images / 2) == (student == "online")
    in_round = student == "round"
    assert [record.name for record in summary.rounds] == ["round 1" if in_round else "online"]
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["settings"]["online"]["method"] == ("none" if in_round else "fixmatch")
    assert ("round-1/student" in facts["stages"]) == in_round
    assert ("Examples of pseudo labels" in (tmp_path / "report.html").read_text()) == in_round
    assert facts["settings"]["selection"]["neighbors"] == ("mean" if in_round else "none")
    if in_round:
        assert (tmp_path / "round-1/teacher-predictions/summary.json").is_file()
        selected = json.loads((tmp_path / "round-1/selection/summary.json").read_text())
        assert selected["selected"] == choice.images
    planned = ns.plan(**DIGITS, out=tmp_path, settings=given, quiet=True).stages
    assert {stage.state for stage in planned} == {"complete"}
    assert ("round-1/student" in {stage.name for stage in planned}) == in_round
    done = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("manifest.json")}
    again = ns.run(**DIGITS, out=tmp_path, settings=given, quiet=True).summary
    assert again == replace(summary, cost=again.cost)
    assert done == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("manifest.json")}


def test_a_finished_run_is_found_done_and_another_method_trains_the_student_alone(alone, tmp_path):
    before = weights(alone.path / "online" / "student")
    manifests = [(alone.path / stage / "manifest.json").stat().st_mtime_ns for stage in ("teacher", "online/student")]
    again = run(alone.path)
    assert again.summary == replace(alone.summary, cost=again.summary.cost)
    assert manifests == [
        (alone.path / stage / "manifest.json").stat().st_mtime_ns for stage in ("teacher", "online/student")
    ]
    assert weights(alone.path / "online" / "student") == before


def test_a_plan_has_the_stages_and_samples_of_the_run(tmp_path):
    given = {**ONLINE, "online.method": "mean_teacher", "data.validation_fraction": 0.0}
    planned = ns.plan(**DIGITS, out=tmp_path, settings=given, quiet=True)
    spent = run(tmp_path, online__method="mean_teacher", data__validation_fraction=0.0).summary.cost
    costs = {stage.name: (stage.samples_seen, stage.images_predicted) for stage in spent.stages}
    for stage in planned.stages:
        assert costs[stage.name] == (stage.samples_seen, stage.images_predicted)
    assert costs["online/student"] == (8 * 32, 8 * 24)  # 8 labeled and 24 strong views; the average answers to 24


def test_rounds_may_end_with_an_online_student_that_goes_on(tmp_path):
    finished = run(tmp_path, rounds__count=1, rounds__controls=1).summary
    assert [student.name for student in finished.rounds] == ["round 1", "online"]
    training = json.loads((tmp_path / "online/student/training.json").read_text())
    assert (training["samples_seen"], training["weights_samples_seen"]) == (8 * 32, 2 * 8 * 32)
    assert finished.control.samples_seen == 2 * 8 * 32
    page = (tmp_path / "report.html").read_text()
    assert "No pseudo labels are stored for the online student." in page
    assert "From round 1, the last one with pseudo labels" in page
    planned = ns.plan(**DIGITS, out=tmp_path, settings={**ONLINE, "rounds.count": 1, "rounds.controls": 1}, quiet=True)
    assert {stage.state for stage in planned.stages} == {"complete"}
    assert [stage.samples_seen for stage in planned.stages if stage.name == "control"] == [2 * 8 * 32]


def test_a_warm_start_without_rounds_is_from_the_teacher(tmp_path):
    run(tmp_path, train__warm_start=True, rounds__controls=0)
    inputs = json.loads((tmp_path / "online/student/inputs.json").read_text())
    manifest = json.loads((tmp_path / "teacher/manifest.json").read_text())
    assert inputs["model"]["start"] == manifest["fingerprint"]


def test_train_makes_one_online_student_also_from_weights(alone, tmp_path):
    given = {name: value for name, value in ONLINE.items() if not name.startswith(("model.", "rounds.", "budget"))}
    student = ns.train(
        labeled=DIGITS["labeled"],
        unlabeled=DIGITS["unlabeled"],
        start=alone.path,
        out=tmp_path / "student",
        settings={**given, "online.method": "freematch"},
        quiet=True,
    )
    assert student.samples_seen == 8 * 32
    assert json.loads((tmp_path / "student/inputs.json").read_text())["objective"]["online"]["method"] == "freematch"


def test_a_student_of_streamed_images_that_is_killed_ends_with_the_same_bits(tmp_path, monkeypatch):
    streamed = {"online__method": "flexmatch", "data__streaming": "always", "data__window": 300}
    streamed |= {"data__near_duplicates": 10, "rounds__controls": 0, "train__save_every": 1e-9}
    whole = run(tmp_path / "whole", **streamed)
    assert json.loads((tmp_path / "whole/screen/left-out.json").read_text())
    inputs = json.loads((tmp_path / "whole/online/student/inputs.json").read_text())
    assert inputs["window"] == 300
    costs = {stage.name: (stage.samples_seen, stage.images_predicted) for stage in whole.summary.cost.stages}
    assert costs["online/student"] == (8 * 32, 8 * 24)  # the averaged weights answer to weak views

    fetch, fetched = TwoViewBatches.__call__, []

    def stopping(batches: TwoViewBatches, micro_step: int):
        fetched.append(micro_step)
        if len(fetched) == 6:
            raise KeyboardInterrupt
        return fetch(batches, micro_step)

    monkeypatch.setattr(TwoViewBatches, "__call__", stopping)
    monkeypatch.setattr("noisystudent.training.loop.LOG_EVERY", 1)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", **streamed)
    run(tmp_path / "killed", **streamed)
    assert fetched[6] > 0  # it went on
    assert weights(tmp_path / "killed/online/student") == weights(tmp_path / "whole/online/student")


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"recipe": "curriculum", "rounds.count": 0}, r"rounds\.count is 0, so no student learns"),
        ({"distillation.method": "kd"}, r"distillation\.method only with online\.method none"),
        ({"online.threshold": 1.5}, r"online\.threshold.*a number from 0 to 1"),
        ({"online.deviations": 3}, r"online\.deviations only with online\.method softmatch"),
        ({"noise.mixup": 0.2}, r"noise\.mixup only with online\.method none"),
        ({"selection.rule": "threshold"}, r"selection\.rule only with a rounds\.count above 0"),
        ({"objective.label_smoothing": 0.1}, r"label_smoothing 0\.1 teaches the student to be 91% sure, below"),
        ({"budget": "1s"}, "budget"),
        (
            {"online.teacher": "student", "train.batch_size": 2},
            r"train\.batch_size 2 leaves 0 unlabeled images per step",
        ),
        ({"online.method": "freematch", "train.grad_accum_steps": 2}, r"in 2 parts, .*freematch keeps averages"),
    ],
)
def test_what_an_online_student_cannot_do_is_said_in_one_line(tmp_path, values, message):
    given = {**ONLINE, **values}
    if "budget" in values:
        given.pop("train.steps")
    with pytest.raises(SettingsError, match=message) as caught:
        ns.run(**DIGITS, out=tmp_path, settings=given, quiet=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "teacher").exists()


def test_an_own_objective_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="does not use your own objective"):
        ns.run(**DIGITS, out=tmp_path, settings=ONLINE, objective=lambda logits, batch: logits.mean(), quiet=True)


def test_train_needs_unlabeled_images_and_nothing_else(tmp_path):
    with pytest.raises(SettingsError, match=r"online\.method only with unlabeled images"):
        ns.train(labeled=DIGITS["labeled"], out=tmp_path, settings={"online.method": "fixmatch"}, quiet=True)
    with pytest.raises(SettingsError, match="labels the unlabeled images itself; leave out --predictions"):
        ns.train(
            labeled=DIGITS["labeled"],
            unlabeled=DIGITS["unlabeled"],
            predictions=tmp_path / "predictions",
            out=tmp_path / "student",
            settings={"online.method": "fixmatch"},
            quiet=True,
        )


def test_an_online_student_after_rounds_needs_their_model(tmp_path):
    given = {**ONLINE, "rounds.count": 1, "model.students": ["tiny_resnet", "resnet_small_8"], "rounds.controls": 0}
    with pytest.raises(ModelError, match=r"an online\.method after rounds needs students of their teacher's model"):
        ns.run(**DIGITS, out=tmp_path, settings=given, quiet=True)
