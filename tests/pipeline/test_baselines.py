"""Simple classifiers beside a run are scikit-learn's on the same images; they are measured, stored and told."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import noisystudent as ns
from noisystudent.errors import SettingsError
from noisystudent.pipeline import baselines
from noisystudent.results.run import Cost, StageCost
from small_backbone import save_backbone
from small_runs import DIGITS, SMALL

pytestmark = pytest.mark.usefixtures("feature_cache")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return save_backbone(tmp_path_factory.mktemp("backbone") / "weights")


@pytest.fixture(scope="module")
def run(tmp_path_factory, backbone):
    settings = {"model.backbone": str(backbone), "head.views": 0, "budget": "none", "runtime.threads": 1}
    return ns.run(**DIGITS, out=tmp_path_factory.mktemp("runs") / "run", settings=settings, quiet=True)


def test_on_a_frozen_backbone_they_see_its_features(run):
    found = {baseline.name: baseline for baseline in run.summary.baselines}
    assert set(found) == {"logistic regression on features", "label spreading on features"}
    assert all(0.5 < baseline.top1 <= 1 for baseline in found.values())
    checkpoint = run.path / found["logistic regression on features"].checkpoint
    again = ns.evaluate(checkpoint=checkpoint, source="digits:test")
    assert again.top1 == pytest.approx(found["logistic regression on features"].top1, abs=0.003)


@pytest.fixture
def whole(tmp_path, backbone):
    """Runs the whole backbone, and returns the accuracy of the classifiers beside it by name."""

    def run(name="run", **given):
        settings = {"model.backbone": str(backbone), "model.tune": "all", "budget": "none", "runtime.threads": 1}
        settings |= {"train.steps": 2, "train.batch_size": 8, "rounds.count": 1, "rounds.controls": 0}
        settings |= {"noise.strengths": [0.1], **given}
        tuned = ns.run(**DIGITS, out=tmp_path / name, settings=settings, quiet=True)
        return {baseline.name: baseline.top1 for baseline in tuned.summary.baselines}

    return run


def test_a_run_of_the_whole_backbone_has_them_on_the_same_features_where_it_is_asked_for_them(run, whole):
    frozen = {baseline.name: baseline.top1 for baseline in run.summary.baselines}
    assert whole(**{"rounds.baselines": True}) == pytest.approx(frozen, abs=0.003)


def test_a_run_of_the_whole_backbone_has_them_by_itself_where_features_take_little_of_its_time(whole, monkeypatch):
    monkeypatch.setattr(baselines, "LARGEST_SHARE", 0.0)
    assert whole() == {}
    monkeypatch.setattr(baselines, "LARGEST_SHARE", 1e9)
    assert whole() == {}  # a finished run stays as it is
    found = whole("other")
    assert set(found) == {"logistic regression on features", "label spreading on features"}
    monkeypatch.setattr(baselines, "LARGEST_SHARE", 0.0)
    assert whole("other") == found  # what was measured stays


@pytest.mark.parametrize(("share", "cheap"), [(0.2, True), (0.19, False)])
def test_the_time_of_features_is_told_by_that_of_the_scores(tmp_path, monkeypatch, share, cheap):
    monkeypatch.setattr(baselines, "LARGEST_SHARE", share)
    scores = StageCost(name="scores/teacher", seconds=2.0, images_predicted=100)
    cost = Cost(seconds=100.0, stages=(scores, StageCost(name="teacher", seconds=98.0, images_predicted=10**6)))
    splits = SimpleNamespace(labeled=range(10), unlabeled=SimpleNamespace(shard_sizes=(500, 390)))
    splits.validation, splits.test = None, range(100)  # 1,000 images of 0.02 s are a fifth of 100 s
    context = SimpleNamespace(
        settings=SimpleNamespace(out=str(tmp_path)),
        folder_of=lambda stage: tmp_path / stage,
        splits=splits,
        costs=SimpleNamespace(total=lambda: cost),
    )
    assert baselines._is_cheap(context, baselines._seconds_on_features) is cheap


@pytest.mark.parametrize("classes", [2, 4])
def test_a_head_of_logistic_regression_is_scikit_learns(classes):
    random = np.random.default_rng(0)
    labels = np.arange(60) % classes
    features = (random.normal(size=(classes, 8))[labels] + random.normal(size=(60, 8)) + 3).astype(np.float32)
    head = baselines._logistic_regression(features, labels)
    reference = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(features, labels)
    np.testing.assert_allclose(
        head.log_probabilities(features), reference.predict_log_proba(features), rtol=1e-4, atol=1e-4
    )


def test_without_a_backbone_they_see_gradients(tmp_path):
    pytest.importorskip("skimage")
    settings = {**SMALL, "rounds.count": 1, "rounds.baselines": True}
    run = ns.run(**DIGITS, out=tmp_path / "run", settings=settings, quiet=True)
    (baseline,) = run.summary.baselines
    assert baseline.name == "support vector machine on HOG"
    assert baseline.top1 > 0.6  # 40 labels of 8 x 8 pixels; chance is 0.1
    assert "support vector machine on HOG" in run.report.read_text()


def test_without_a_backbone_a_run_has_one_by_itself_where_it_takes_little_of_its_time(tmp_path, monkeypatch):
    pytest.importorskip("skimage")
    settings = {**SMALL, "rounds.count": 1}

    def found(name):
        run = ns.run(**DIGITS, out=tmp_path / name, settings=settings, quiet=True)
        return {baseline.name: baseline.top1 for baseline in run.summary.baselines}

    assert found("short") == {}  # it took less than a minute
    monkeypatch.setattr(baselines, "SHORTEST_RUN", 0.0)
    monkeypatch.setattr(baselines, "LARGEST_SHARE", 0.0)
    assert found("dear") == {}
    monkeypatch.setattr(baselines, "LARGEST_SHARE", 1e9)
    assert found("dear") == {}  # a finished run stays as it is
    measured = found("cheap")
    assert set(measured) == {"support vector machine on HOG"}
    monkeypatch.setattr(baselines, "LARGEST_SHARE", 0.0)
    assert found("cheap") == measured  # what was measured stays


def test_the_time_of_gradients_is_told_by_that_of_some_images(monkeypatch):
    clock = iter([0.0, 3.2])
    monkeypatch.setattr(baselines.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(baselines, "gradients", lambda images, edge: np.zeros((len(images), 50)))
    labeled = type("Labeled", (), {"__len__": lambda self: 100, "take": lambda self, rows: rows})()
    splits = SimpleNamespace(labeled=labeled, validation=None, test=range(900), format=SimpleNamespace(size=16))
    cost = Cost(seconds=60.0)
    context = SimpleNamespace(splits=splits, costs=SimpleNamespace(total=lambda: cost))
    # 32 images took 3.2 s; 1,000 images are each compared with 100 labeled ones in 50 numbers.
    expected = 1000 * 0.1 + 1000 * 100 * 50 / baselines.KERNEL_SPEED
    assert baselines._seconds_on_gradients(context) == pytest.approx(expected)
    cost = Cost(seconds=59.0)
    assert baselines._seconds_on_gradients(context) is None


def test_without_scikit_image_a_wish_is_refused_and_auto_is_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(baselines, "find_spec", lambda name: None)
    settings = {**SMALL, "rounds.count": 1}
    assert ns.run(**DIGITS, out=tmp_path / "run", settings=settings, quiet=True).summary.baselines == ()
    with pytest.raises(SettingsError, match=r"scikit-image.*noisystudent\[baselines\]"):
        ns.run(**DIGITS, out=tmp_path / "run", settings={**settings, "rounds.baselines": True}, quiet=True)
