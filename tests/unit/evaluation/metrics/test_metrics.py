"""Accuracy, calibration, diagnostics and the verdict: against scikit-learn, SciPy and values by hand."""

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import brier_score_loss, confusion_matrix, log_loss, top_k_accuracy_score

from noisystudent.evaluation.metrics.accuracy import confusion, per_class, top_k
from noisystudent.evaluation.metrics.calibration import (
    brier,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)
from noisystudent.evaluation.metrics.diagnostics import label_free_diagnostics
from noisystudent.evaluation.metrics.scores import score
from noisystudent.evaluation.verdict import compare


@pytest.fixture
def predictions():
    random = np.random.default_rng(0)
    logits = random.normal(size=(200, 8)) * 2
    labels = np.where(random.uniform(size=200) < 0.6, logits.argmax(axis=1), random.integers(0, 8, 200))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), labels


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_matches_scikit_learn(predictions, k):
    values, labels = predictions
    assert top_k(values, labels, k) == pytest.approx(top_k_accuracy_score(labels, values, k=k, labels=range(8)))


def test_top_k_breaks_ties_like_argmax():
    even = np.zeros((4, 4))
    labels = np.arange(4)
    assert top_k(even, labels, 1) == pytest.approx((even.argmax(axis=1) == labels).mean()) == 0.25
    assert top_k(even, labels, 3) == 0.75


def test_nll_brier_and_confusion_match_scikit_learn(predictions):
    values, labels = predictions
    assert negative_log_likelihood(values, labels) == pytest.approx(log_loss(labels, np.exp(values), labels=range(8)))
    one_hot = np.eye(8)[labels]
    by_class = sum(brier_score_loss(one_hot[:, k], np.exp(values[:, k])) for k in range(8))
    assert brier(values, labels) == pytest.approx(by_class)
    np.testing.assert_array_equal(
        confusion(values.argmax(axis=1), labels, 8), confusion_matrix(labels, values.argmax(axis=1), labels=range(8))
    )


def test_ece_by_hand():
    # Four rows at confidence 0.9, three right: gap 0.15; six at 0.6, three right: gap 0.1.
    confidence = np.array([0.9] * 4 + [0.6] * 6)
    values = np.log(np.stack([confidence, 1 - confidence], axis=1))
    labels = np.array([0, 0, 0, 1, 0, 0, 0, 1, 1, 1])
    table = reliability(values, labels)
    assert expected_calibration_error(table) == pytest.approx(0.4 * 0.15 + 0.6 * 0.1)
    assert sum(row.count for row in table) == 10
    assert [row.count for row in table if row.count] == [6, 4]


def test_a_confidence_of_one_is_in_the_last_bin():
    values = np.log(np.array([[1.0, 1e-30]]))
    table = reliability(values, np.array([0]))
    assert table[-1].count == 1
    assert expected_calibration_error(table) == 0


def test_per_class_has_none_for_a_class_without_images():
    assert per_class(np.array([[3, 1, 0], [0, 0, 0], [1, 0, 1]])) == [0.75, None, 0.5]


def test_scores_hold_all_metrics(predictions):
    values, labels = predictions
    scores = score(values, labels, [str(i) for i in range(8)])
    assert scores.count == 200
    assert scores.top1 == pytest.approx((values.argmax(axis=1) == labels).mean())
    assert np.sum(scores.confusion) == 200
    assert set(scores.per_class) == {str(i) for i in range(8)}


def test_mcnemar_is_the_exact_binomial_tail():
    first = np.array([True] * 15 + [False] * 5 + [True] * 30)
    second = np.array([False] * 15 + [True] * 5 + [True] * 30)
    comparison = compare(first, second)
    assert comparison.difference == pytest.approx(10 / 50)
    assert comparison.p_value == pytest.approx(2 * binom.cdf(5, 20, 0.5))


def test_the_bootstrap_interval_is_near_the_normal_one():
    random = np.random.default_rng(1)
    first, second = random.uniform(size=4000) < 0.85, random.uniform(size=4000) < 0.8
    comparison = compare(first, second)
    differences = first.astype(float) - second
    half = 1.96 * differences.std() / np.sqrt(len(differences))
    expected = (comparison.difference - half, comparison.difference + half)
    assert comparison.interval == pytest.approx(expected, abs=0.002)


def test_label_free_diagnostics():
    labels, previous = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    confidence = np.array([0.5, 0.7, 0.9, 0.9])
    diagnostics = label_free_diagnostics([(labels, confidence, previous)], 2)
    assert diagnostics == {
        "agreement": 0.75,
        "class_drift": pytest.approx(0.25),
        "mean_confidence": pytest.approx(0.75),
        "class_balance": pytest.approx(1.0),
    }
    parts = [(labels[rows], confidence[rows], previous[rows]) for rows in (slice(1), slice(1, 4))]
    assert label_free_diagnostics(parts, 2) == diagnostics
    alone = label_free_diagnostics([(labels, confidence, None)], 2)
    assert alone["agreement"] is alone["class_drift"] is None
