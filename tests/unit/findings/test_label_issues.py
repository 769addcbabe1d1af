"""Labels that look wrong: planted errors, closed forms, and nothing where answers and labels agree."""

import numpy as np
import pytest
from scipy.special import log_softmax

from noisystudent.findings.label_issues import suspicious_labels, wrong_label_probabilities


def answers(labels: np.ndarray, classes: int, sharpness: float, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(len(labels), classes))
    logits[np.arange(len(labels)), labels] += sharpness
    return log_softmax(logits, axis=1).astype(np.float32)


def planted(
    count: int, wrong: int, classes: int = 5, sharpness: float = 6.0
) -> tuple[np.ndarray, np.ndarray, set[int]]:
    truth = np.arange(count) % classes
    rows = np.random.default_rng(1).choice(count, wrong, replace=False)
    labels = truth.copy()
    labels[rows] = (truth[rows] + 1) % classes
    return answers(truth, classes, sharpness), labels, set(rows.tolist())


@pytest.mark.parametrize("wrong", [1, 5, 20])
def test_planted_errors_are_found_and_nothing_else(wrong):
    log_probabilities, labels, rows = planted(200, wrong)
    assert set(suspicious_labels(log_probabilities, labels).tolist()) == rows


def test_labels_that_agree_with_sure_answers_are_not_listed():
    log_probabilities, labels, _ = planted(200, 0)
    assert len(suspicious_labels(log_probabilities, labels)) == 0


def test_answers_that_know_nothing_list_nothing():
    labels = np.arange(100) % 4
    log_probabilities = np.full((100, 4), np.log(0.25), np.float32)
    assert len(suspicious_labels(log_probabilities, labels)) == 0
    assert np.ptp(wrong_label_probabilities(log_probabilities, labels)) == pytest.approx(0, abs=1e-6)


def test_the_most_suspicious_label_comes_first_and_ties_keep_their_order():
    log_probabilities, labels, _ = planted(200, 10, sharpness=4.0)
    wrong = wrong_label_probabilities(log_probabilities, labels)
    listed = suspicious_labels(log_probabilities, labels)
    assert np.all(np.diff(wrong[listed]) <= 0)


def test_the_share_of_wrong_labels_is_their_mean_probability():
    # With calibrated answers, the probabilities add up to about the number of wrong labels (closed form of the E step).
    log_probabilities, labels, rows = planted(2000, 200)
    assert wrong_label_probabilities(log_probabilities, labels).sum() == pytest.approx(len(rows), rel=0.05)


def test_a_model_that_is_unsure_of_everything_lists_nothing_although_it_contradicts():
    random = np.random.default_rng(0)
    log_probabilities = log_softmax(0.1 * random.normal(size=(40, 10)), axis=1).astype(np.float32)
    labels = np.arange(40) % 10
    assert (log_probabilities.argmax(axis=1) != labels).mean() > 0.8
    assert len(suspicious_labels(log_probabilities, labels)) == 0
