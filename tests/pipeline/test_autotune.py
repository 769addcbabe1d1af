"""A run that times how it computes: once, for all of its processes and resumed tries, and only where it is asked to."""

import json

import pytest

import noisystudent
from noisystudent.artifacts.folder import State
from noisystudent.errors import SettingsError
from noisystudent.pipeline import autotune as speed
from noisystudent.training.timing import ComputeMode

QUICK = ComputeMode("bfloat16", False)
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
SOURCES = {"labeled": "digits:labeled", "unlabeled": "digits:unlabeled", "test": "digits:test"}


@pytest.fixture
def timed(monkeypatch):
    """The batch sizes that were timed; one way is found to be much quicker than all others."""
    sizes = []

    def time_modes(classifier, modes, batch_size):
        sizes.append(batch_size)
        return {mode: 0.5 if mode == QUICK else 1.0 for mode in modes}

    monkeypatch.setattr(speed, "time_modes", time_modes)
    return sizes


def inputs_of(folder):
    return json.loads((folder / "inputs.json").read_text())


def test_a_run_computes_in_the_quickest_way_and_times_once(tmp_path, timed):
    plan = noisystudent.plan(**SOURCES, out=tmp_path, settings=SMALL, quiet=True)
    assert [(stage.name, stage.state) for stage in plan[:2]] == [("speed", State.ABSENT), ("teacher", State.ABSENT)]
    noisystudent.run(**SOURCES, out=tmp_path, settings=SMALL, quiet=True)
    assert timed == [16]  # a step goes through the model in two pieces
    summary = json.loads((tmp_path / "speed/summary.json").read_text())
    assert summary["chosen"] == {"precision": "bfloat16", "channels_last": False}
    assert len(summary["ways"]) == 6
    for stage in ("teacher", "control", "round-1/student", "round-1/predictions", "scores/teacher"):
        assert inputs_of(tmp_path / stage)["precision"] == "bfloat16"
    manifest = (tmp_path / "teacher/manifest.json").read_text()
    noisystudent.run(**SOURCES, out=tmp_path, settings=SMALL, quiet=True)
    assert timed == [16]
    assert (tmp_path / "teacher/manifest.json").read_text() == manifest
    plan = noisystudent.plan(**SOURCES, out=tmp_path, settings=SMALL, quiet=True)
    assert {stage.state for stage in plan} == {State.COMPLETE}


def test_a_model_trained_alone_is_timed_itself_and_again_for_another_batch(tmp_path, timed):
    alone = {**SMALL, "train.grad_accum_steps": 1, "runtime.channels_last": "false"}
    noisystudent.train(labeled=SOURCES["labeled"], out=tmp_path / "teacher", settings=alone, quiet=True)
    assert json.loads((tmp_path / "teacher.speed/summary.json").read_text())["chosen"]["precision"] == "bfloat16"
    noisystudent.train(
        labeled=SOURCES["labeled"], out=tmp_path / "teacher", settings={**alone, "train.batch_size": 40}, quiet=True
    )
    assert timed == [32, 40]


def test_nothing_is_timed_where_the_settings_say_all(tmp_path, timed):
    told = {**SMALL, "runtime.precision": "bfloat16", "runtime.channels_last": "true"}
    noisystudent.train(labeled=SOURCES["labeled"], out=tmp_path / "teacher", settings=told, quiet=True)
    assert timed == []
    assert not (tmp_path / "teacher.speed").exists()
    assert inputs_of(tmp_path / "teacher")["precision"] == "bfloat16"


def test_verbs_that_only_predict_take_no_auto(tmp_path):
    for verb in (noisystudent.label, noisystudent.predict, noisystudent.evaluate):
        place = "teacher" if verb is noisystudent.label else "checkpoint"
        with pytest.raises(SettingsError, match="give float32, bfloat16 or float16 here"):
            verb(
                **{place: tmp_path}, source="digits:test", out=tmp_path / "out", settings={"runtime.precision": "auto"}
            )
