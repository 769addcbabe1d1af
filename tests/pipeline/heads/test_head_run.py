"""Runs on a frozen backbone: features once, heads in seconds, an ordinary checkpoint in the end."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import noisystudent as ns
from noisystudent.commands.main import main
from noisystudent.data.sources.open import open_source
from noisystudent.errors import ModelError, SettingsError
from noisystudent.models.checkpoint import load_classifier
from noisystudent.models.predictor import Predictor
from small_backbone import save_backbone
from small_runs import DIGITS

SETTINGS = {"runtime.threads": 1, "head.views": 1}


pytestmark = pytest.mark.usefixtures("feature_cache")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return save_backbone(tmp_path_factory.mktemp("backbone") / "weights")


def run(out, backbone, **settings):
    given = {**SETTINGS, "model.backbone": str(backbone), **settings}
    return ns.run(**DIGITS, out=out, settings=given, quiet=True)


@pytest.fixture(scope="module")
def done(tmp_path_factory, backbone):
    return run(tmp_path_factory.mktemp("runs") / "run", backbone)


def stages(result):
    return {path.parent.relative_to(result.path).as_posix() for path in result.path.rglob("manifest.json")}


def test_a_frozen_backbone_is_what_a_run_on_a_cpu_begins_with(done):
    assert done.facts.settings["model"]["tune"] == "head"
    assert done.facts.origins["objective.labels"] == "model.tune head"
    assert {"features", "head-choice", "teacher", "round-1/student", "cross-fit", "best"} <= stages(done)
    summary = done.summary
    assert summary.student.test.top1 >= summary.teacher.test.top1 - 0.02
    assert summary.teacher.test.top1 > 0.5
    assert sum(teacher["weight"] for teacher in choice(done)["teachers"]) == pytest.approx(1)


def every_second(predictions):
    return (np.arange(len(predictions)) % 2 == 0).astype(int)


def every_third(predictions):
    return (np.arange(len(predictions)) % 3 == 0).astype(int)


def test_the_evidence_is_that_of_the_users_own_selection(tmp_path, backbone):
    judged = []
    for select in (every_second, every_third):
        given = {**SETTINGS, "model.backbone": str(backbone)}
        ns.run(**DIGITS, out=tmp_path / "run", settings=given, select=select, quiet=True)
        judged.append(json.loads((tmp_path / "run/cross-fit/inputs.json").read_text())["selection"])
    assert ["every_second" in judged[0], "every_third" in judged[1]] == [True, True]


def test_the_delivered_head_has_the_temperature_of_cross_fitting(done):
    evidence = json.loads((done.path / "cross-fit" / "summary.json").read_text())
    found = done.model.calibration
    assert (found.labels, found.fitted_on) == (40, "cross-fitted labels")
    assert found.temperature == evidence["student_temperature"]
    test = open_source("digits:test", labeled=False)
    plain, calibrated = (done.model.predict_proba(test, calibrated=given) for given in (False, True))
    assert (plain.argmax(axis=1) == calibrated.argmax(axis=1)).all()
    assert not np.allclose(plain, calibrated)


def choice(result):
    return json.loads((result.path / "head-choice" / "summary.json").read_text())


def test_only_the_last_layer_is_new(done, backbone):
    given, found = load_classifier(backbone), load_classifier(done.path / "best")
    for name, tensor in given.net.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(tensor, found.net.state_dict()[name]), name


def test_the_delivered_checkpoint_answers_as_its_stored_scores(done):
    found = ns.evaluate(checkpoint=done.path / "best", source="digits:test")
    assert found.top1 == pytest.approx(done.summary.student.test.top1, abs=0.003)


def test_a_finished_run_computes_and_fits_nothing_again(done, backbone, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(Predictor, "features", refuse)
    monkeypatch.setattr("noisystudent.pipeline.heads.labels.fit_head", refuse)
    again = run(done.path, backbone)
    assert again.summary.student == done.summary.student


def test_another_run_on_the_same_images_finds_their_features(tmp_path, done, backbone, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(Predictor, "features", refuse)
    other = run(tmp_path / "other", backbone, **{"head.student_penalty": 0.3})
    assert other.summary.student.test.top1 > 0.5
    assert other.summary.teacher.test == done.summary.teacher.test


def test_a_run_that_is_killed_among_its_features_goes_on(tmp_path, backbone, done, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    original, calls = Predictor.features, []

    def features(self, images):
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "features", features)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run", backbone)
    later = []
    monkeypatch.setattr(
        Predictor, "features", lambda self, images: (later.append(len(images)), original(self, images))[1]
    )
    resumed = run(tmp_path / "run", backbone)
    assert sum(later) + sum(calls[:2]) == sum_of_views(done)
    assert resumed.summary.student.test == done.summary.student.test


def sum_of_views(result):
    """The views of all distinct images of the run."""
    labeled, unlabeled, test = (result.facts.sources[role].images for role in ("labeled", "unlabeled", "test"))
    left_out = len(result.facts.sources["unlabeled"].left_out)
    return 2 * (labeled + unlabeled - left_out) + test


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model.tune": "head", "train.steps": 5}, "train.steps only with model.tune all, last:N or lora"),
        ({"model.tune": "head", "noise.mixup": 0.2}, "noise.mixup only with model.tune all, last:N or lora"),
        (
            {"model.tune": "head", "distillation.method": "kd"},
            "distillation.method only with model.tune all, last:N or lora",
        ),
        ({"model.tune": "all", "head.views": 2}, "head.views only with model.tune head"),
    ],
)
def test_settings_of_the_other_kind_are_refused(tmp_path, backbone, settings, message):
    given = {"model.backbone": str(backbone), **settings}
    with pytest.raises(SettingsError, match=message):
        ns.run(**DIGITS, out=tmp_path / "run", settings=given, quiet=True)


def test_a_frozen_head_needs_a_backbone(tmp_path):
    with pytest.raises(SettingsError, match=r"model\.tune only with model\.backbone"):
        ns.run(**DIGITS, out=tmp_path / "run", settings={"model.tune": "head"}, quiet=True)


def test_settings_of_a_networks_training_mean_that_it_is_trained(tmp_path, backbone):
    given = {"model.backbone": str(backbone), "train.steps": 2, "rounds.count": 1, "noise.strength": 0.25}
    result = ns.run(**DIGITS, out=tmp_path / "run", settings=given, quiet=True)
    assert result.facts.settings["model"]["tune"] == "all"
    assert "features" not in stages(result)


def test_settings_of_both_kinds_need_a_decision(tmp_path, backbone):
    with pytest.raises(SettingsError, match=r"train\.steps.*head\.views.*model\.tune head or all"):
        run(tmp_path / "run", backbone, **{"train.steps": 2})


def test_a_network_that_does_not_end_with_a_linear_layer_is_refused(tmp_path, backbone, monkeypatch):
    monkeypatch.setattr("noisystudent.pipeline.features.stage.last_layer", refuse_layer)
    with pytest.raises(ModelError, match=r"model\.tune all"):
        run(tmp_path / "run", backbone)


def refuse_layer(classifier):
    raise ModelError("Give model.tune all.")


def test_one_label_per_class_needs_no_cross_fitting(tmp_path, backbone, capsys):
    images = tmp_path / "images"
    for label in range(3):
        (images / "labeled" / str(label)).mkdir(parents=True)
        for number in range(4):
            pixels = np.full((8, 8), 60 * label + 3 * number, np.uint8)
            folder = images / "labeled" / str(label) if number == 0 else images / "unlabeled"
            folder.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{label}-{number}.png")
    arguments = ["run", "--labeled", str(images / "labeled"), "--unlabeled", str(images / "unlabeled")]
    options = ["--out", str(tmp_path / "run"), "--backbone", str(backbone), "--head.views", "0"]
    assert main([*arguments, *options]) == 0
    assert "a class has a single label" in capsys.readouterr().err
    assert not (tmp_path / "run" / "cross-fit").exists()
