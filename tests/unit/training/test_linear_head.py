"""A head on features is scikit-learn's logistic regression, and its optimum for soft labels, views and weights."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from noisystudent.training import linear_head
from noisystudent.training.linear_head import HeadData, LinearHead, Scaler, fit_head

CPU = torch.device("cpu")
CLASSES = 4


@pytest.fixture(scope="module", params=[12, 160, 300], ids=lambda width: f"{width} features")
def features(request):
    """80 images, on both sides of where a fit works in the space that they span."""
    random, width = np.random.default_rng(0), request.param
    labels = random.integers(0, CLASSES, 80)
    centers = random.normal(size=(CLASSES, width))
    return (centers[labels] + random.normal(size=(80, width)) * 2 + 5).astype(np.float16), labels


def one_hot(labels):
    return np.eye(CLASSES, dtype=np.float32)[labels]


def data(features, targets, weights=None):
    weights = np.ones(len(features), np.float32) if weights is None else weights
    return HeadData([features], targets, weights)


def test_it_is_scikit_learns_logistic_regression(features):
    given, labels = features
    scaler = StandardScaler().fit(given.astype(np.float64))
    reference = LogisticRegression(C=1 / (0.1 * len(given)), tol=1e-10, max_iter=10_000)
    reference.fit(scaler.transform(given), labels)
    head = fit_head([data(given, one_hot(labels))], Scaler.of([given]), 0.1, CPU)
    expected = reference.predict_proba(scaler.transform(given))
    np.testing.assert_allclose(np.exp(head.log_probabilities(given)), expected, atol=5e-4)


def test_the_gradient_vanishes_for_soft_labels_and_uneven_weights(features):
    given, _ = features
    random = np.random.default_rng(1)
    targets = softmax(random.normal(size=(len(given), CLASSES)), axis=1).astype(np.float32)
    weights = random.uniform(0, 2, len(given)).astype(np.float32)
    scaler, penalty = Scaler.of([given]), 0.05
    head = fit_head([data(given, targets, weights)], scaler, penalty, CPU)
    standardized = (given - scaler.mean) / scaler.deviation
    difference = np.exp(head.log_probabilities(given)) - targets
    gradient = (
        difference * (weights / weights.sum())[:, None]
    ).T @ standardized + penalty * head.weight * scaler.deviation
    assert abs(gradient).max() < 2e-4


def test_few_rows_are_solved_in_the_space_that_they_span(features, monkeypatch):
    given, labels = features

    def fitted():
        return fit_head([data(given, one_hot(labels))], Scaler.of([given]), 0.1, CPU).log_probabilities(given)

    as_usual = fitted()
    monkeypatch.setattr(linear_head, "_span", lambda rows: None)
    np.testing.assert_allclose(np.exp(as_usual), np.exp(fitted()), atol=5e-4)


def test_views_share_the_weight_of_their_image_and_parts_add_up(features):
    given, labels = features
    other = (given + np.random.default_rng(2).normal(size=given.shape)).astype(np.float16)
    scaler = Scaler.of([given])
    views = fit_head([HeadData([given, other], one_hot(labels), np.ones(80, np.float32))], scaler, 0.1, CPU)
    halves = np.full(80, 0.5, np.float32)
    parts = fit_head([data(given, one_hot(labels), halves), data(other, one_hot(labels), halves)], scaler, 0.1, CPU)
    np.testing.assert_allclose(views.log_probabilities(given), parts.log_probabilities(given), atol=1e-3)


def test_a_feature_that_never_changes_keeps_its_scale():
    constant = np.ones((5, 2), np.float16)
    constant[:, 1] = np.arange(5)
    scaler = Scaler.of([constant[:2], constant[2:]])
    np.testing.assert_allclose(scaler.mean, [1, 2])
    np.testing.assert_allclose(scaler.deviation, [1, np.sqrt(2)], rtol=1e-6)


def test_a_feature_that_hardly_changes_is_not_blown_up():
    """A feature of a backbone that answers to none of these images may answer to the next one."""
    features = np.random.default_rng(0).normal(size=(50, 3)) * [1, 2, 1e-6]
    scaler = Scaler.of([features.astype(np.float32)], least=0.1)
    own = features.std(axis=0)
    np.testing.assert_allclose(scaler.deviation, [own[0], own[1], 0.1 * own[0]], rtol=1e-5)
    assert Scaler.of([features.astype(np.float32)]).deviation[2] == pytest.approx(own[2], rel=1e-4)


def test_a_head_answers_with_probabilities_that_sum_to_one():
    head = LinearHead(np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
    answers = np.exp(head.log_probabilities(np.array([[2.0, 0.0, 0.0]], np.float16)))
    np.testing.assert_allclose(answers, softmax([[2.0, 0.0, 0.0]], axis=1), rtol=1e-6)


def test_fewer_images_than_features_and_features_that_never_change_are_no_problem():
    features = np.zeros((6, 300), np.float16)
    features[:, :10] = np.random.default_rng(3).normal(size=(6, 10))
    labels = np.array([0, 1, 2, 3, 0, 1])
    for penalty in (1e-4, 1.0):
        head = fit_head([data(features, one_hot(labels))], Scaler.of([features]), penalty, CPU)
        assert np.isfinite(head.weight).all()
        assert (head.log_probabilities(features).argmax(axis=1) == labels).mean() >= 0.5


def test_logit_adjustment_is_the_fit_with_the_log_of_the_shares_added_to_the_logits(features):
    given, labels = features
    kept = np.concatenate([np.flatnonzero(labels == label)[: 3 + 4 * label] for label in range(CLASSES)])
    given, targets = given[kept], one_hot(labels[kept])
    scaler, tau, penalty = Scaler.of([given]), 1.5, 0.1
    head = fit_head([data(given, targets)], scaler, penalty, CPU, logit_adjustment=tau)
    standardized = (given - scaler.mean) / scaler.deviation
    weight = head.weight * scaler.deviation
    logits = given.astype(np.float32) @ head.weight.T + head.bias + tau * np.log(targets.mean(axis=0))
    difference = (softmax(logits, axis=1) - targets) / len(given)
    assert np.abs(difference.T @ standardized + penalty * weight).max() < 2e-4
    assert np.abs(difference.sum(axis=0)).max() < 2e-4


def test_logit_adjustment_of_equal_shares_changes_no_answer(features):
    given, labels = features
    kept = np.concatenate([np.flatnonzero(labels == label)[:9] for label in range(CLASSES)])
    part, scaler = [data(given[kept], one_hot(labels[kept]))], Scaler.of([given])
    plain, adjusted = (fit_head(part, scaler, 0.1, CPU, logit_adjustment=tau) for tau in (0.0, 2.0))
    np.testing.assert_allclose(plain.log_probabilities(given), adjusted.log_probabilities(given), atol=1e-4)


def test_a_head_is_the_last_layer_of_a_network_and_back():
    layer, other = torch.nn.Linear(5, 3), torch.nn.Linear(5, 3)
    head = LinearHead.of(layer)
    head.put_into(other)
    features = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    expected = torch.log_softmax(layer(torch.from_numpy(features)), dim=1).detach().numpy()
    np.testing.assert_allclose(head.log_probabilities(features), expected, atol=1e-6)
    assert torch.equal(other.weight, layer.weight)
    assert torch.equal(other.bias, layer.bias)
