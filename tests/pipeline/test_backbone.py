"""Runs that start from a backbone: resumed, made again with other weights, repeated, distilled; the page names it."""

import json

import pytest
import torch
from safetensors.torch import load_file

import noisystudent as ns
from noisystudent.commands.main import main
from noisystudent.errors import ModelError
from noisystudent.models.checkpoint import save_classifier
from noisystudent.models.classifier import create_classifier
from noisystudent.pipeline.backbones import auto
from small_runs import DIGITS, SMALL, without

SETTINGS = {**without(SMALL, "model.teacher"), "rounds.count": 1, "train.steps": 3, "runtime.threads": 1}


def write_weights(folder, seed=0):
    torch.manual_seed(seed)
    save_classifier(create_classifier("tiny_resnet", classes=tuple("abcd"), channels=3, size=8), folder)
    return folder


def written(run):
    stages = ("teacher", "round-1/student", "control")
    return {stage: (run.path / stage / "model.safetensors").stat().st_mtime_ns for stage in stages}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny")


def run(out, backbone, **settings):
    return ns.run(**DIGITS, out=out, settings={**SETTINGS, "model.backbone": str(backbone), **settings}, quiet=True)


def test_a_run_is_resumed_and_made_again_with_other_weights(tmp_path, weights):
    first = run(tmp_path / "run", weights)
    before = written(first)
    assert written(run(tmp_path / "run", weights)) == before
    other = written(run(tmp_path / "run", write_weights(tmp_path / "other", seed=1)))
    assert all(other[stage] != before[stage] for stage in before)
    assert first.facts.start.trained_on == "images of 4 classes: a, b, c, d"
    page = first.report.read_text()
    assert "What the models start from" in page
    assert "images of 4 classes: a, b, c, d" in page
    assert "Test images may have been among" in page
    assert run(tmp_path / "run", weights).model.classes == tuple("0123456789")


def test_no_step_leaves_teacher_student_and_control_at_the_backbone(tmp_path, weights):
    made = run(tmp_path / "run", weights, **{"train.learning_rate": 1e-12, "train.weight_decay": 0.0})
    given = load_file(weights / "model.safetensors")
    names = [name for name in given if not name.startswith("classifier.") and "running" not in name]
    for stage in ("teacher", "round-1/student", "control"):
        found = load_file(made.path / stage / "model.safetensors")
        moved = [name for name in names if not torch.allclose(found[name].float(), given[name].float(), atol=1e-6)]
        assert [name for name in moved if not name.endswith("num_batches_tracked")] == []


def test_the_short_option_a_run_as_backbone_and_the_command_that_repeats(tmp_path, weights, capsys, monkeypatch):
    monkeypatch.chdir(weights.parent)
    options = [f"--{name}={value}" for name, value in without(SETTINGS, "rounds.count").items()]
    arguments = ["train", "--labeled", "digits:labeled", "--out", str(tmp_path / "first"), "--backbone", weights.name]
    assert main([*arguments, *options]) == 0
    assert "backbone: tiny, the weights of a tiny_resnet" in capsys.readouterr().err
    again = run(tmp_path / "run", tmp_path / "first")
    assert again.facts.start.trained_on.startswith("images of 10 classes")
    assert f"--model.backbone={tmp_path / 'first'}" in again.facts.command


def test_a_students_distillation_starts_from_the_backbone_and_a_plan_names_the_stages(tmp_path, weights):
    settings = {**without(SETTINGS, "rounds.count"), "model.backbone": str(weights)}
    made = ns.distill(
        labeled="digits:labeled", test="digits:test", out=tmp_path / "distilled", teacher="auto", student="auto",
        settings=settings, quiet=True,
    )  # fmt: skip
    inputs = json.loads((made.path / "student-1" / "inputs.json").read_text())
    assert inputs["model"]["backbone"] == made.facts.start.fingerprint
    planned = ns.plan(**DIGITS, out=tmp_path / "p", settings={**SETTINGS, "model.backbone": str(weights)}, quiet=True)
    assert "round-1/student" in [stage.name for stage in planned.stages]


def test_what_cannot_start_is_one_line(tmp_path, weights):
    with pytest.raises(ModelError, match="none could start from it"):
        run(tmp_path / "run", weights, **{"model.teacher": "resnet_small_20"})
    with pytest.raises(ModelError, match=r"'tiny_resnet' is not known.*there are no published weights"):
        run(tmp_path / "run", "tiny_resnet")


def test_auto_is_chosen_once_and_the_page_says_why(tmp_path, weights, monkeypatch):
    monkeypatch.setattr(auto, "choose_backbone", lambda device, fits: str(weights))
    first = run(tmp_path / "run", "auto")
    before = written(first)
    assert first.facts.start.reason == "it is the first in the list of auto that fits and is in the hub's cache"
    assert first.facts.origins["model.backbone"] == f"auto: {first.facts.start.reason}"
    assert f"--model.backbone={weights}" in first.facts.command
    assert "The setting was auto, which took these weights because it is the first" in first.report.read_text()
    monkeypatch.setattr(auto, "choose_backbone", lambda device, fits: pytest.fail("it was chosen again"))
    assert written(run(tmp_path / "run", "auto")) == before
