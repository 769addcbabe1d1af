"""Classifiers on frozen features: against scikit-learn, and a nearest neighbor written out."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from noisystudent.pipeline.pretraining.probe import fit_probe, nearest_classes


def clouds(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), count)
    centers = np.random.default_rng(9).normal(size=(3, 6)) * 1.2
    return (centers[labels] + random.normal(size=(3 * count, 6))).astype(np.float32), labels


def test_the_linear_probe_predicts_as_scikit_learns_logistic_regression():
    (own, labels), (asked, truth) = clouds(40, 0), clouds(100, 1)
    penalty, head = fit_probe(own, labels, 3, torch.device("cpu"), 0)
    mean, deviation = own.mean(0), own.std(0)
    other = LogisticRegression(C=1 / (penalty * len(own)), max_iter=1000, tol=1e-6).fit(
        (own - mean) / deviation, labels
    )
    expected = other.predict((asked - mean) / deviation)
    predicted = head.log_probabilities(asked).argmax(axis=1)
    assert (predicted == expected).mean() > 0.98
    assert (predicted == truth).mean() > 0.7


def test_a_class_with_one_label_is_no_error():
    own, labels = clouds(5, 0)
    penalty, _ = fit_probe(own[:11], labels[:11], 3, torch.device("cpu"), 0)
    assert penalty == 1.0


def test_neighbors_vote_by_similarity():
    (own, labels), (asked, _) = clouds(7, 0), clouds(4, 1)
    expected = []
    for point in asked:
        votes = np.zeros(3)
        for known, label in zip(own, labels, strict=True):
            similarity = known @ point / np.linalg.norm(known) / np.linalg.norm(point)
            votes[label] += np.exp(similarity / 0.07)
        expected.append(votes.argmax())
    assert nearest_classes(own, labels, asked, 3).tolist() == expected
