"""Class shares are estimated as by direct maximization of the likelihood, predictions corrected as by Bayes' rule."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from noisystudent.pseudo_labels import shift
from noisystudent.pseudo_labels.predictions import (
    ShardLabels,
    list_parts,
    part_path,
    read_all,
    read_part_stats,
    read_typicality,
    rewrite_part,
    write_part,
)
from noisystudent.pseudo_labels.shift import (
    Calibration,
    ClassShares,
    HeldOutAnswers,
    calibrate,
    estimate_shares,
    labeled_shares,
    most_likely_shares,
    sample_of,
)

CENTERS = np.array([[0.0, 1.5], [1.3, -0.75], [-1.3, -0.75]])
TRUE = np.array([0.7, 0.25, 0.05])
EVEN = np.full(3, 1 / 3)


def gaussians(shares, rows, seed):
    """Points of three Gaussian classes, their classes, and the exact posterior under equal shares."""
    random = np.random.default_rng(seed)
    labels = random.choice(3, rows, p=shares)
    points = CENTERS[labels] + random.normal(size=(rows, 2))
    logits = -((points[:, None] - CENTERS) ** 2).sum(axis=2) / 2
    return labels, log_softmax(logits, axis=1), logits


def test_the_most_likely_shares_are_those_of_direct_maximization():
    _, log_p, _ = gaussians(TRUE, 400, 0)
    probabilities = np.exp(log_p)

    def negative_log_likelihood(values):
        return -np.log((probabilities * softmax(values) / EVEN).sum(axis=1)).sum()

    direct = softmax(minimize(negative_log_likelihood, np.zeros(3), tol=1e-12).x)
    assert np.allclose(most_likely_shares(probabilities, EVEN), direct, atol=1e-4)
    assert np.allclose(direct, TRUE, atol=0.06)


def class_shares(shares, temperature=1.0, biases=(0.0, 0.0, 0.0)):
    return ClassShares(
        shares=dict(zip("pqr", shares.tolist(), strict=True)),
        reference=dict.fromkeys("pqr", 1 / 3),
        biases=dict(zip("pqr", biases, strict=True)),
        temperature=temperature,
    )


def test_corrected_predictions_are_the_posterior_under_the_other_shares():
    _, log_p, logits = gaussians(TRUE, 50, 1)
    exact = log_softmax(logits + np.log(TRUE), axis=1)
    assert np.allclose(class_shares(TRUE).correct(log_p), exact, atol=1e-5)
    assert np.allclose(class_shares(TRUE, 2.0).correct(2 * log_p), exact, atol=1e-5)  # overconfident by a factor
    biased = log_softmax(log_p + np.log([0.1, 0.1, 0.8]), axis=1)  # a teacher that expects other shares
    assert np.allclose(class_shares(TRUE, biases=-np.log([0.1, 0.1, 0.8])).correct(biased), exact, atol=1e-5)


def test_nothing_is_corrected_for_the_shares_of_the_labels():
    _, log_p, _ = gaussians(TRUE, 50, 1)
    assert class_shares(EVEN, 2.0, (1.0, 0.0, 0.0)).correct(log_p) is log_p


def test_calibration_finds_the_temperature_and_the_biases():
    labels, log_p, _ = gaussians(EVEN, 20_000, 4)
    found = calibrate(HeldOutAnswers(log_softmax(3 * (log_p + np.log([0.1, 0.2, 0.7])), axis=1), labels))
    assert found.temperature == pytest.approx(3, rel=0.05)
    biases = -np.log([0.1, 0.2, 0.7])
    assert np.allclose(found.biases - found.biases.mean(), biases - biases.mean(), atol=0.1)


def test_calibration_is_the_penalized_maximum_of_the_likelihood():
    labels, log_p, _ = gaussians(TRUE, 40, 5)
    found = calibrate(HeldOutAnswers(log_p, labels))

    def penalized(inverse, biases):
        log_q = log_softmax(inverse * log_p + biases, axis=1)
        return -log_q[np.arange(40), labels].sum() + np.square(biases).sum() / 2

    best = penalized(1 / found.temperature, found.biases)
    random = np.random.default_rng(0)
    for scale in (1e-3, 1e-2, 0.3):
        steps = random.normal(size=(50, 4)) * scale
        assert all(penalized(1 / found.temperature + step[0], found.biases + step[1:]) > best - 1e-4 for step in steps)


def test_shares_are_estimated_where_the_answers_show_that_they_differ():
    labels, held_out, _ = gaussians(EVEN, 90, 2)
    answers = HeldOutAnswers(3 * held_out, labels)  # badly calibrated
    for shares, differ in ((EVEN, False), (TRUE, True)):
        _, unlabeled, _ = gaussians(shares, 2000, 3)
        found, p_value = estimate_shares(3 * unlabeled, answers, calibrate(answers), EVEN)
        assert (p_value < shift.SIGNIFICANT) == differ
        assert np.allclose(found, shares, atol=0.08)
        if not differ:
            assert np.array_equal(found, EVEN)


def test_without_a_shift_shares_are_seldom_estimated():
    alarms = 0
    for seed in range(200):
        labels, held_out, _ = gaussians(EVEN, 60, 1000 + seed)
        _, unlabeled, _ = gaussians(EVEN, 500, 5000 + seed)
        calibration = Calibration(1.0, np.zeros(3))
        found, _ = estimate_shares(unlabeled, HeldOutAnswers(held_out, labels), calibration, EVEN)
        alarms += not np.array_equal(found, EVEN)
    assert alarms / 200 < shift.SIGNIFICANT + 3 * np.sqrt(0.1 * 0.9 / 200)


def test_a_class_that_is_never_predicted_keeps_a_small_share():
    probabilities = np.tile([1.0, 0.0], (10, 1))
    assert most_likely_shares(probabilities, np.full(2, 0.5)) == pytest.approx([1, 1e-4], rel=1e-3)


def test_a_class_without_labels_counts_half_a_label():
    assert labeled_shares(np.array([0, 0, 2]), 3).tolist() == pytest.approx([2 / 3.5, 0.5 / 3.5, 1 / 3.5])


def test_a_sample_is_evenly_spaced_over_all_parts(tmp_path, monkeypatch):
    rows = log_softmax(np.random.default_rng(0).normal(size=(23, 2)), axis=1).astype(np.float32)
    for number, (first, end) in enumerate([(0, 5), (5, 6), (6, 23)]):
        keys = [str(row) for row in range(first, end)]
        write_part(part_path(tmp_path, number), [ShardLabels.of(keys, rows[first:end])])
    parts = list_parts(tmp_path)
    assert np.array_equal(sample_of(parts, 2), rows)
    monkeypatch.setattr(shift, "MOST_NUMBERS", 16)
    assert np.array_equal(sample_of(parts, 2), rows[::3])


def test_a_corrected_part_keeps_keys_shards_failures_and_typicality(tmp_path):
    random = np.random.default_rng(0)
    log_p = log_softmax(random.normal(size=(5, 3)), axis=1).astype(np.float32)
    typicality = random.uniform(size=5).astype(np.float32)
    shards = [
        ShardLabels.of(["a", "b"], log_p[:2], [("x", "broken")], typicality[:2]),
        ShardLabels.of([], log_p[:0], [], typicality[:0]),
        ShardLabels.of(["c", "d", "e"], log_p[2:], [("y", "empty")], typicality[2:]),
    ]
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    source, target = part_path(tmp_path / "from", 0), part_path(tmp_path / "to", 0)
    write_part(source, shards)
    aim = class_shares(TRUE, 1.5)
    assert rewrite_part(source, target, len(aim.shares), aim.correct) == 5
    keys, values = read_all(tmp_path / "to", 3)
    assert keys == ["a", "b", "c", "d", "e"]
    assert np.allclose(values, log_softmax(log_p / 1.5 + np.log(TRUE * 3), axis=1), atol=1e-5)
    assert read_part_stats(target) == read_part_stats(source)
    assert np.array_equal(read_typicality(target), typicality)
