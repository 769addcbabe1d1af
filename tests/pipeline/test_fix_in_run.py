"""``run --fix.size``: student and control are fixed alike, scored and measured before and after, and delivered."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

import noisystudent as ns
from noisystudent.data.images import ImageFormat
from noisystudent.errors import DataError, ModelError
from noisystudent.models.classifier import create_classifier
from noisystudent.pipeline.fix import in_run
from noisystudent.pipeline.fix.stage import format_at
from small_runs import DIGITS, SMALL, weights

CROPS = {"noise.crop": "resized", "noise.strength": 1.0, "data.near_duplicates": "none", "runtime.threads": 1}
SETTINGS = {**SMALL, **CROPS, "rounds.count": 1, "rounds.controls": 1}
FIX = {"fix.size": "auto", "fix.epochs": 20.0, "fix.batch_size": 20}
SUITE = {"evaluation.suite": "clean", "evaluation.max_images": 40}


def run(out, **changes):
    return ns.run(**DIGITS, out=out, settings={**SETTINGS, **changes}, quiet=True)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run without a fix."""
    return run(tmp_path_factory.mktemp("plain") / "run")


@pytest.fixture(scope="module")
def fixed(plain, tmp_path_factory):
    """The same run with one."""
    return run(tmp_path_factory.mktemp("fixed") / "run", **FIX, **SUITE)


def test_the_fix_changes_no_stage_before_it(plain, fixed):
    for stage in ("teacher", "round-1/student", "control"):
        assert weights(plain.path / stage) == weights(fixed.path / stage)
        old, new = (json.loads((run.path / stage / "inputs.json").read_text()) for run in (plain, fixed))
        assert old == new
        assert "drops" not in old["train"]  # what earlier versions trained stays valid


def test_student_and_control_are_fixed_and_the_teacher_is_not(fixed):
    assert sorted(path.name for path in (fixed.path / "fixed").iterdir()) == ["control", "round-1"]
    names = [(model.model, model.trained_size, model.size) for model in fixed.summary.fixed]
    assert names == [("round 1", 8, 12), ("control", 8, 12)]
    old = load_file(fixed.path / "round-1/student/model.safetensors")
    new = load_file(fixed.path / "fixed/round-1/model.safetensors")
    assert {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])} == {"blocks", "classifier"}


def test_scores_are_those_of_evaluate(fixed):
    student = fixed.summary.fixed[0]
    found = {(at.size, at.fixed): at.test.top1 for at in student.scores}
    trained, larger = fixed.path / "round-1/student", fixed.path / "fixed/round-1"
    before = ns.evaluate(checkpoint=trained, source="digits:test", sizes=(8, 12)).by_size
    after = ns.evaluate(checkpoint=larger, source="digits:test").top1
    assert found == {(8, False): before[0].top1, (12, False): before[1].top1, (12, True): after}


def test_the_fixed_student_is_delivered_and_the_verdict_is_on_the_trained_one(plain, fixed):
    assert fixed.summary.delivered == "fixed/round-1"
    assert weights(fixed.path / "best") == weights(fixed.path / "fixed/round-1")
    assert fixed.model.size == 12
    assert fixed.verdict == plain.verdict
    assert "Resolution" in fixed.report.read_text()


def test_robustness_has_both(fixed):
    measured = fixed.summary.robustness.measured
    assert [*measured] == ["control", "teacher", "round 1", "round 1 fixed", "control fixed"]
    at_its_size = ns.robustness(
        checkpoint=fixed.path / "fixed/control", source="digits:test", out=fixed.path.parent / "measured",
        settings=SUITE, quiet=True,
    )  # fmt: skip
    assert measured["control fixed"].clean.top1 == at_its_size.clean.top1


def test_a_second_call_finds_everything_done(fixed, capsys):
    ns.run(**DIGITS, out=fixed.path, settings={**SETTINGS, **FIX, **SUITE})
    said = capsys.readouterr().err
    assert "steps in" not in said
    assert said.count("fixed/round-1: done before") == 2  # the model and its scores


def test_the_plan_names_the_stages(fixed, tmp_path):
    names = [stage.name for stage in ns.plan(**DIGITS, out=tmp_path, settings={**SETTINGS, **FIX}, quiet=True).stages]
    fixes = ["fixed/round-1", "scores/resized/round-1", "scores/fixed/round-1"]
    fixes += [name.replace("round-1", "control") for name in fixes]
    assert names[-8:] == [*fixes, "findings", "other"]
    done = ns.plan(**DIGITS, out=fixed.path, settings={**SETTINGS, **FIX, **SUITE}, quiet=True).stages
    assert {stage.state for stage in done} == {"complete"}
    assert {*fixes} <= {stage.name for stage in done}


def test_a_cell_of_a_study_is_scored_after_its_fix(tmp_path):
    cells = (ns.Cell("as trained", {}), ns.Cell("fixed", {**FIX, "fix.size": 12}))
    study = ns.Study("fix", "Fix", "Does a larger size help?", "as trained", cells)
    common = {**SETTINGS, "train.steps": 4}
    result = ns.study(study, **DIGITS, seeds=(0,), out=tmp_path / "study", settings=common, quiet=True)
    summary = ns.open_run(tmp_path / "study/seed-0/fixed").summary
    accuracies = {row.name: row.top1[0] for row in result.rows}
    assert accuracies["fixed"] == pytest.approx(summary.fixed[0].scores[-1].test.top1)
    assert accuracies["as trained"] == pytest.approx(summary.rounds[0].test.top1)
    assert weights(tmp_path / "study/seed-0/fixed/teacher") == weights(tmp_path / "study/seed-0/as-trained/teacher")


def test_images_that_were_squashed_are_squashed_at_the_larger_size():
    classifier = create_classifier("resnet_small_8", classes=("a", "b"), channels=3, size=96)
    classifier.squash, classifier.crop = True, 1.0
    splits = SimpleNamespace(format=ImageFormat(96, 3, squash=True, crop=1.0))
    assert format_at(SimpleNamespace(splits=splits), classifier, 128) == ImageFormat(128, 3, squash=True, crop=1.0)


def test_a_run_without_crops_says_that_there_is_nothing_to_fix(tmp_path, capsys):
    pads = {**SETTINGS, **FIX, "noise.crop": "pad", "noise.strength": 0.25}
    run = ns.run(**DIGITS, out=tmp_path / "run", settings=pads)
    assert "note: there is nothing to fix: the crops that tiny_resnet was trained on" in capsys.readouterr().err
    assert run.summary.fixed == ()
    assert run.summary.delivered == "round-1"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"model.teacher": "test_convnext3", "data.size": 32, "fix.size": 64},
            ModelError,
            "has none. Give fix.norm none",
        ),
        ({"data.memory_limit_gb": 6e-5}, DataError, "data.memory_limit_gb"),
    ],
)
def test_what_would_stop_the_fix_stops_the_run_before_it_trains(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        run(tmp_path / "run", **{**FIX, **changes})
    assert not (tmp_path / "run/teacher/model.safetensors").exists()


def test_validation_may_show_a_fixed_model_to_be_worse(fixed, monkeypatch):
    class Model:
        def __init__(self, name, number):
            self.checkpoint, self.round = type("C", (), {"name": name})(), number

    class Context:
        settings = type("S", (), {"rounds": type("R", (), {"worse_p": 0.05})()})()
        reporter = type("P", (), {"say": staticmethod(lambda text: None)})()

    student, larger, control = Model("round-1/student", 1), Model("fixed/round-1", 1), Model("fixed/control", 0)
    models = [
        in_run.FixedModel(student, larger, fixed.summary.fixed[0], Context),
        in_run.FixedModel(Model("control", 0), control, fixed.summary.fixed[1], Context),
    ]
    monkeypatch.setattr(in_run, "is_worse", lambda after, before, level: True)
    assert in_run.deliver_fixed(Context, student, models) is student
    monkeypatch.setattr(in_run, "is_worse", lambda after, before, level: False)
    monkeypatch.setattr(in_run, "choose_delivered", lambda context, model, rivals: rivals[0])
    assert in_run.deliver_fixed(Context, student, models) is control
    teacher = Model("teacher", 0)
    assert in_run.deliver_fixed(Context, teacher, models) is teacher
