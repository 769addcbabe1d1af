"""Calibration in the suite: numbers recomputed from the model's predictions, temperatures of the halves too."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

import noisystudent
from noisystudent.data.sources.open import open_source
from noisystudent.evaluation import per_image
from noisystudent.evaluation.corruptions.generate import corrupt
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.evaluation.suite import measure
from noisystudent.models.checkpoint import load_classifier
from noisystudent.models.predictor import Predictor
from noisystudent.noise.crop import PlainView
from noisystudent.runtime.progress import Reporter
from noisystudent.runtime.settings import RuntimeSettings

SETTINGS = EvaluationSettings(
    suite=("clean", "calibration", "corruptions"), corruptions=("contrast", "gaussian_noise"), severities=(1, 4)
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "teacher"
    settings = {"train.steps": 60, "train.batch_size": 32, "noise.strength": 0, "runtime.threads": 1}
    noisystudent.train(labeled="digits:labeled", out=out, settings=settings, quiet=True)
    return out


@pytest.fixture(scope="module")
def dataset(checkpoint):
    return EvalDataset.of_source(
        open_source("digits:test", labeled=True), Predictor.open(checkpoint, RuntimeSettings()).format
    )


@pytest.fixture(scope="module")
def result(checkpoint, dataset, tmp_path_factory):
    predictor = Predictor.open(checkpoint, RuntimeSettings())
    return measure(predictor, dataset, SETTINGS, tmp_path_factory.mktemp("suite"), Reporter(quiet=True))


def answers(checkpoint, dataset, change=lambda batch: batch.views):
    """Logits, true classes and addresses of all images."""
    classifier = load_classifier(checkpoint)
    (batch,) = dataset.batches(PlainView(classifier.size), torch.device("cpu"))
    with torch.no_grad():
        logits = classifier(change(batch)).numpy().astype(np.float64)
    return logits, batch.labels, batch.index.numpy()


def likelihood(logits, labels, temperature):
    return -log_softmax(logits / temperature, axis=1)[np.arange(len(labels)), labels]


def ece_by_hand(confidence, correct, bins=15):
    total = 0.0
    for low in range(bins):
        inside = (confidence > low / bins) & (confidence <= (low + 1) / bins)
        total += abs(correct[inside].sum() - confidence[inside].sum())
    return total / len(correct)


def test_each_half_has_the_temperature_of_the_other(checkpoint, dataset, result):
    logits, labels, index = answers(checkpoint, dataset)
    even = index % 2 == 0
    for temperature, others in zip(result.calibration.temperatures, (~even, even), strict=True):
        best = minimize_scalar(
            lambda t, rows=others: likelihood(logits[rows], labels[rows], t).mean(), bounds=(0.05, 20), method="bounded"
        )
        assert temperature == pytest.approx(best.x, rel=1e-3)
    assert 200 < even.sum() < 300  # of 500


@pytest.mark.parametrize("severity", [None, 1, 4])
def test_scores_before_and_after_are_those_of_the_predictions(checkpoint, dataset, result, severity):
    changes = [lambda batch: batch.views]
    if severity:
        changes = [
            lambda batch, name=name: corrupt(batch.views, name, severity, index=batch.index, seed=0)
            for name in SETTINGS.corruptions
        ]
    parts = [answers(checkpoint, dataset, change) for change in changes]
    logits, labels, index = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    of_even, of_odd = result.calibration.temperatures
    own = np.where(index % 2 == 0, of_even, of_odd)[:, None]
    condition = result.calibration.corrupted[severity] if severity else result.calibration
    correct = logits.argmax(axis=1) == labels
    for kind, temperature in (("plain", np.ones_like(own)), ("scaled", own)):
        rows = log_softmax(logits / temperature, axis=1)
        scores = getattr(condition, kind)
        assert scores.nll == pytest.approx(likelihood(logits, labels, temperature).mean(), rel=1e-5)
        assert scores.brier == pytest.approx(((np.exp(rows) - np.eye(10)[labels]) ** 2).sum(axis=1).mean(), rel=1e-5)
        assert scores.ece == pytest.approx(ece_by_hand(np.exp(rows.max(axis=1)), correct), abs=1e-5)
    assert sum(row.count for row in condition.reliability) == len(correct)


def test_temperatures_bring_clean_confidence_to_accuracy(result):
    calibration = result.calibration
    assert calibration.scaled.nll < calibration.plain.nll
    assert calibration.scaled.ece < calibration.plain.ece
    assert set(calibration.corrupted) == {1, 4}


def test_clean_accuracy_has_top_five_and_an_error(checkpoint, dataset, result):
    logits, labels, _ = answers(checkpoint, dataset)
    among = (np.argsort(-logits, axis=1, kind="stable")[:, :5] == labels[:, None]).any(axis=1)
    top1 = (logits.argmax(axis=1) == labels).mean()
    assert result.clean.top1 == pytest.approx(top1)
    assert result.clean.top5 == pytest.approx(among.mean())
    assert result.clean.top1_standard_error == pytest.approx(np.sqrt(top1 * (1 - top1) / 500))


def test_temperatures_are_fitted_on_a_part_of_many_images(checkpoint, dataset, monkeypatch):
    """A sample by addresses, so that it does not follow the order of the images, and memory stays flat."""
    predictor = Predictor.open(checkpoint, RuntimeSettings())
    sizes = []
    monkeypatch.setattr(per_image, "FIT_IMAGES", 50)
    fit = per_image.fit_temperature
    monkeypatch.setattr(per_image, "fit_temperature", lambda rows, labels: sizes.append(len(rows)) or fit(rows, labels))
    predicted, predict = [], Predictor.log_probabilities_of_views

    def counted(self, views):
        predicted.append(len(views))
        return predict(self, views)

    monkeypatch.setattr(Predictor, "log_probabilities_of_views", counted)
    per_image.Temperatures.fit(predictor, dataset)
    assert sum(predicted) == sum(sizes)  # the others are not even predicted
    assert all(30 <= size <= 70 for size in sizes)
    assert len(sizes) == 2
