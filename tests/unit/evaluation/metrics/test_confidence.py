"""Calibration over equal-mass bins and other summaries: against torchmetrics, published code and values by hand."""

import itertools

import numpy as np
import pytest

from noisystudent.errors import DataError
from noisystudent.evaluation.metrics.calibration import expected_calibration_error, reliability
from noisystudent.evaluation.metrics.confidence import (
    equal_mass,
    maximum_calibration_error,
    response_rate_accuracy,
    root_mean_square_calibration_error,
)


def rows_of(confidence, correct):
    """Log-probabilities of six classes, the first with the given confidence, and labels that make it correct or not."""
    others = np.repeat((1 - confidence)[:, None] / 5, 5, axis=1)
    return np.log(np.column_stack([confidence, others])), np.where(correct, 0, 1)


@pytest.fixture
def known():
    random = np.random.RandomState(0)
    confidence = random.uniform(0.2, 0.999, 1000)
    correct = random.uniform(size=1000) < 0.3 + 0.5 * confidence**2
    assert correct.mean() == 0.499
    assert confidence.mean() == pytest.approx(0.596241, abs=5e-7)
    return confidence, correct


def test_over_bins_of_equal_width(known):
    # The values are those of torchmetrics 1.9.0 with 15 bins and the norms l1, l2 and max.
    table = reliability(*rows_of(*known))
    assert expected_calibration_error(table) == pytest.approx(0.131131, abs=5e-7)
    assert root_mean_square_calibration_error(table) == pytest.approx(0.151799, abs=5e-7)
    assert maximum_calibration_error(table) == pytest.approx(0.343748, abs=5e-7)


@pytest.mark.parametrize("bins", [7, 15])
def test_it_matches_torchmetrics(known, bins):
    torch = pytest.importorskip("torch")
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
    log_probabilities, labels = rows_of(*known)
    table = reliability(log_probabilities, labels, bins)
    probabilities = torch.from_numpy(np.exp(log_probabilities))
    for norm, ours in (
        ("l1", expected_calibration_error),
        ("l2", root_mean_square_calibration_error),
        ("max", maximum_calibration_error),
    ):
        theirs = torchmetrics.multiclass_calibration_error(
            probabilities, torch.from_numpy(labels), num_classes=6, n_bins=bins, norm=norm
        )
        assert ours(table) == pytest.approx(float(theirs), abs=1e-6)


def test_over_bins_of_equal_mass(known):
    table = equal_mass(*rows_of(*known))
    assert [row.count for row in table] == [100] * 10
    assert root_mean_square_calibration_error(table) == pytest.approx(0.144505, abs=5e-7)
    assert expected_calibration_error(table) == pytest.approx(0.123298, abs=5e-7)


def test_the_published_code_omits_the_most_confident_bin(known):
    # calib_err of hendrycks/natural-adv-examples (calibration_tools.py, commit 0777070) on the same rows.
    table = equal_mass(*rows_of(*known))
    total = 1000
    squares = [row.count / total * (row.accuracy - row.confidence) ** 2 for row in table[:-1]]
    assert np.sqrt(sum(squares)) == pytest.approx(0.139190, abs=5e-7)
    assert maximum_calibration_error(table[:-1]) == pytest.approx(0.298166, abs=5e-7)
    assert root_mean_square_calibration_error(table) - np.sqrt(sum(squares)) == pytest.approx(0.005315, abs=1e-6)
    assert maximum_calibration_error(table) >= maximum_calibration_error(table[:-1])


def test_the_accuracy_at_response_rates(known):
    assert response_rate_accuracy(*rows_of(*known)) == pytest.approx(0.642205, abs=5e-7)


def test_the_accuracy_at_response_rates_by_hand():
    # By falling confidence right, wrong, right: 1, 1/2 and 2/3.
    rows = rows_of(np.array([0.5, 0.9, 0.7]), np.array([True, True, False]))
    assert response_rate_accuracy(*rows) == pytest.approx((1 + 1 / 2 + 2 / 3) / 3)


@pytest.mark.parametrize(("rows", "counts"), [(60, [60]), (100, [100]), (199, [199]), (250, [100, 150])])
def test_the_remainder_joins_the_last_bin(rows, counts):
    random = np.random.default_rng(1)
    table = equal_mass(*rows_of(random.uniform(0.3, 1, rows), random.uniform(size=rows) < 0.5))
    assert [row.count for row in table] == counts
    assert all(first.high <= second.low for first, second in itertools.pairwise(table))


def test_the_order_of_equally_confident_rows_does_not_matter():
    # A very confident classifier: float32 has no number between its confidence and 1, so half of the rows share it.
    confidence = np.array([1.0] * 150 + list(np.linspace(0.3, 0.9, 150))).astype(np.float32)
    correct = np.arange(300) % 3 > 0
    with np.errstate(divide="ignore"):
        log_probabilities, labels = rows_of(confidence, correct)
    order = np.r_[np.argsort(correct[:150]), 150:300]
    for measure in (
        response_rate_accuracy,
        lambda *rows: root_mean_square_calibration_error(equal_mass(*rows)),
    ):
        assert measure(log_probabilities, labels) == pytest.approx(
            measure(log_probabilities[order], labels[order]), abs=1e-12
        )


def test_the_largest_gap_ignores_empty_bins():
    table = reliability(*rows_of(np.full(4, 0.9), np.array([True, True, True, False])))
    assert maximum_calibration_error(table) == pytest.approx(0.15)


def test_no_rows_are_refused():
    for measure in (equal_mass, response_rate_accuracy):
        with pytest.raises(DataError, match="no rows"):
            measure(np.zeros((0, 3)), np.zeros(0, np.int64))
