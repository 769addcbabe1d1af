"""Teachers on further backbones label, too; the student has the run's own backbone alone."""

import json
from pathlib import Path

import pytest
import torch

import noisystudent as ns
from noisystudent.commands.main import main
from noisystudent.errors import SettingsError
from noisystudent.models.checkpoint import load_classifier
from noisystudent.models.predictor import Predictor
from small_backbone import save_backbone
from small_runs import DIGITS

SETTINGS = {"runtime.threads": 1, "head.views": 1, "budget": "none"}


pytestmark = pytest.mark.usefixtures("feature_cache")


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbones")
    return str(save_backbone(folder / "own")), str(save_backbone(folder / "other", seed=1))


def run(out, own, *others, **settings):
    given = {**SETTINGS, "model.backbone": own, "head.teacher_backbones": others, **settings}
    return ns.run(**DIGITS, out=out, settings=given, quiet=True)


@pytest.fixture(scope="module")
def done(tmp_path_factory, backbones):
    return run(tmp_path_factory.mktemp("runs") / "run", *backbones)


def test_their_teachers_share_the_labeling(done, backbones):
    teachers = json.loads((done.path / "head-choice" / "summary.json").read_text())["teachers"]
    on_other = [teacher for teacher in teachers if teacher["name"].endswith(f" on {backbones[1]}")]
    assert [teacher["name"].split(" on ")[0] for teacher in on_other] == [
        "head",
        "graph",
        "whitened_graph",
        "prototypes",
    ]
    assert len(teachers) == 8
    assert sum(teacher["weight"] for teacher in teachers) == pytest.approx(1)
    assert all(teacher["weight"] > 0 and teacher["top1"] > 0.3 for teacher in on_other)


def test_only_the_labels_differ_from_a_run_without_them(done, backbones, tmp_path):
    alone = run(tmp_path / "alone", backbones[0])
    assert alone.summary.teacher.test == done.summary.teacher.test
    ours, theirs = (load_classifier(result.path / "round-1" / "student") for result in (done, alone))
    assert not torch.equal(ours.net.state_dict()["classifier.weight"], theirs.net.state_dict()["classifier.weight"])
    own = load_classifier(Path(backbones[0])).net.state_dict()
    for name, tensor in ours.net.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(tensor, own[name]), name


def test_they_see_the_plain_view_of_the_images_of_training(done):
    cost = {stage.name: stage for stage in done.summary.cost.stages}
    training, test = cost["features-1"].images_predicted, 500
    assert 1280 < training <= 40 + 1257  # the digits, without those that look like test images
    assert cost["features"].images_predicted == 2 * training + test


def test_a_finished_run_computes_nothing_again_and_its_plan_knows_it(done, backbones, monkeypatch, capsys):
    def refuse(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(Predictor, "features", refuse)
    monkeypatch.setattr("noisystudent.pipeline.heads.labels.fit_head", refuse)
    again = run(done.path, *backbones)
    assert again.summary.student == done.summary.student
    given = {**DIGITS, **SETTINGS, "model.backbone": backbones[0], "head.teacher_backbones": backbones[1]}
    assert main(["plan", *(f"--{name}={value}" for name, value in given.items()), "--out", str(done.path)]) == 0
    printed = capsys.readouterr().out
    assert "features-1" in printed
    assert "left: 0 samples seen in training, 0 images" in printed


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (("auto",), "holds 'auto'; name each"),
        (("none",), "holds 'none'"),
        (("OWN",), "used twice"),
        (("B", "B"), "twice"),
    ],
)
def test_what_is_no_further_backbone_is_refused(backbones, tmp_path, others, message):
    named = [{"OWN": backbones[0], "B": backbones[1]}.get(name, name) for name in others]
    with pytest.raises(SettingsError, match=message):
        run(tmp_path / "run", backbones[0], *named)


def test_a_run_without_frozen_features_has_no_use_for_them(tmp_path, backbones):
    with pytest.raises(SettingsError, match="head"):
        run(tmp_path / "run", "none", backbones[1])
