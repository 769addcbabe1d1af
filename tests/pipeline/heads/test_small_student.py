"""A small network at the end of a run on a frozen backbone, which learns the delivered head's answers."""

import json

import numpy as np
import pytest

import noisystudent as ns
from noisystudent.commands.main import main
from noisystudent.errors import ModelError, SettingsError
from noisystudent.pseudo_labels import predictions
from small_backbone import save_backbone
from small_runs import DIGITS, weights

pytestmark = pytest.mark.usefixtures("feature_cache")
SETTINGS = {"runtime.threads": 1, "head.views": 1, "train.batch_size": 32, "train.steps": 150}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return save_backbone(tmp_path_factory.mktemp("backbone") / "weights")


def run(out, backbone, **settings):
    given = {**SETTINGS, "model.backbone": str(backbone), "head.student": "resnet_small_8", **settings}
    return ns.run(**DIGITS, out=out, settings=given, quiet=True)


@pytest.fixture(scope="module")
def done(tmp_path_factory, backbone):
    return run(tmp_path_factory.mktemp("runs") / "run", backbone)


def test_it_is_a_model_of_its_own_beside_the_delivered_one(done):
    small, folder = done.summary.small_student, done.path / "small-student" / "student"
    assert (small.model, small.samples_seen) == ("resnet_small_8", 150 * 32)
    assert small.test.top1 > 0.7
    assert ns.evaluate(checkpoint=folder, source="digits:test").top1 == pytest.approx(small.test.top1, abs=0.003)
    assert done.summary.delivered != "small-student"
    assert done.summary.cost.samples_seen == small.samples_seen


def test_it_learns_what_the_delivered_head_answers(done, tmp_path):
    """The stored labels are those that the delivered checkpoint gives the images itself."""
    again = ns.label(teacher=done.path / "best", source="digits:unlabeled", out=tmp_path / "labels", quiet=True)
    keys, stored = predictions.read_all(done.path / "small-student" / "predictions", 10)
    by_key = dict(zip(*predictions.read_all(again, 10), strict=True))
    answers = np.stack([by_key[key] for key in keys])  # the run left out near-duplicates of test images
    assert abs(np.exp(stored) - np.exp(answers)).max() < 0.02
    inputs = json.loads((done.path / "small-student" / "student" / "inputs.json").read_text())
    assert inputs["objective"]["labels"] == "soft"


def test_it_is_named_with_what_it_keeps(done, capsys):
    page = (done.path / "report.html").read_text()
    assert "Small student: resnet_small_8" in page
    assert "The small student, resnet_small_8, is in small-student/student: " in page


def test_a_finished_run_finds_it_done_and_a_killed_one_makes_the_same(done, backbone, tmp_path):
    again = run(done.path, backbone)
    assert again.summary.cost.session_seconds < done.summary.cost.session_seconds
    before = weights(done.path / "small-student" / "student")
    other = run(tmp_path / "other", backbone)
    assert weights(other.path / "small-student" / "student") == before


def test_its_plan_has_its_stages(backbone, tmp_path):
    settings = {**SETTINGS, "model.backbone": str(backbone), "head.student": "resnet_small_8"}
    settings["evaluation.suite"] = "calibration"
    planned = ns.plan(**DIGITS, out=tmp_path / "run", settings=settings, quiet=True)
    stages = {stage.name: stage for stage in planned.stages}
    assert stages["small-student/student"].samples_seen == 150 * 32
    assert stages["small-student/student"].seconds > 0
    assert stages["scores/robustness"].seconds is None


def test_the_command_has_a_short_name_for_it(backbone, tmp_path, capsys):
    sources = [text for role, source in DIGITS.items() for text in (f"--{role}", source)]
    given = [
        "--backbone",
        str(backbone),
        "--student",
        "resnet_smal_8",
        "--budget",
        "none",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(["run", *sources, *given]) != 0
    assert "resnet_small_8" in capsys.readouterr().err
    assert not (tmp_path / "run" / "features" / "manifest.json").exists()


def test_settings_of_rounds_of_networks_stay_refused(backbone, tmp_path):
    with pytest.raises(SettingsError, match=r"train\.warm_start"):
        run(tmp_path / "run", backbone, **{"train.warm_start": True, "model.tune": "head"})
    with pytest.raises(SettingsError, match=r"head\.student"):
        run(tmp_path / "run", backbone, **{"model.tune": "all"})
    with pytest.raises(ModelError, match="resnet_smal_8"):
        run(tmp_path / "run", backbone, **{"head.student": "resnet_smal_8"})
