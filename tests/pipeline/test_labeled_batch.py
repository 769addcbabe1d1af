"""The batches of the paper: as many labels per step for everyone, pseudo labels on top; controls of both lengths."""

import json

import pytest

import noisystudent
from noisystudent.reporting.terminal import closing_lines
from small_runs import DIGITS, SMALL

LABELS = 40  # of digits:labeled
PAPER = {
    **{name: value for name, value in SMALL.items() if name != "train.steps"},
    "train.batch": "labeled",
    "train.batch_size": 16,
    "train.epochs": 2.4,
    "train.ratio": [1.5, 2.25],
    "train.learning_rate": 0.016,
    "train.rate_per_256": True,
    "rounds.count": 2,
    "rounds.control": "both",
    "rounds.controls": 1,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> noisystudent.Run:
    folder = tmp_path_factory.mktemp("labeled")
    return noisystudent.run(**DIGITS, out=folder, settings=PAPER, quiet=True)


def training(finished, stage):
    return json.loads((finished.path / stage / "training.json").read_text())


def inputs(finished, stage):
    return json.loads((finished.path / stage / "inputs.json").read_text())


def test_every_stage_sees_each_label_as_often_and_students_see_pseudo_labels_on_top(finished):
    steps = training(finished, "teacher")["steps"]
    assert steps == round(2.4 * LABELS / 16)
    seen = {"teacher": 16, "round-1/student": 16 + 24, "round-2/student": 16 + 36, "control-steps": 16}
    for stage, images in seen.items():
        assert training(finished, stage)["steps"] == steps
        assert training(finished, stage)["samples_seen"] == steps * images
        assert inputs(finished, stage)["train"]["learning_rate"] == pytest.approx(0.016 * 16 / 256)
    control = training(finished, "control")["samples_seen"]
    assert 0 <= control - steps * (16 + 36) < 16
    assert inputs(finished, "control")["train"]["learning_rate"] == pytest.approx(0.016 * 16 / 256)


def test_plan_counts_what_the_run_counts(finished, tmp_path):
    planned = noisystudent.plan(**DIGITS, out=tmp_path / "planned", settings=PAPER, quiet=True)
    costs = {stage.name: stage.samples_seen for stage in finished.summary.cost.stages}
    for stage in planned.stages:
        if stage.samples_seen:
            assert stage.samples_seen == costs[stage.name], stage.name


def test_both_controls_are_reported_and_the_one_of_samples_gives_the_verdict(finished):
    summary = finished.summary
    assert summary.control_length == "samples"
    assert [model.name for model in summary.controls_of_steps] == ["control steps"]
    assert summary.control.samples_seen > summary.controls_of_steps[0].samples_seen
    assert summary.verdict.controls == 1
    page, text = finished.report.read_text(), "\n".join(closing_lines(summary, finished.path))
    assert "Control (of as many steps, labels only)" in page
    assert "The control of as many steps is not among them" in page + text


def test_a_verdict_against_as_many_steps_counts_the_teacher(finished, tmp_path):
    settings = {**PAPER, "rounds.control": "steps", "rounds.controls": 2, "train.ratio": 1.5}
    of_steps = noisystudent.run(**DIGITS, out=tmp_path, settings=settings, quiet=True)
    assert training(of_steps, "control")["samples_seen"] == training(of_steps, "teacher")["samples_seen"]
    assert of_steps.verdict.controls == 2
    assert of_steps.summary.control_length == "steps"
    assert "which took as many steps as it did: control and the teacher" in of_steps.report.read_text()
