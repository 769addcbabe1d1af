"""Means, intervals and paired differences of tables, against SciPy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap
from scipy.stats import t as student_t

from article_runs import answers
from noisystudent.evaluation.verdict import PRIOR_DEGREES, PRIOR_LUCK
from noisystudent.reporting.article.cells import accuracy_cell, paired_difference


def test_the_interval_of_one_number_without_luck_is_wilsons():
    cell = accuracy_cell([0.83], 400, luck=False)
    expected = binomtest(332, 400).proportion_ci(method="wilson")
    assert cell.interval == pytest.approx((expected.low, expected.high))


def test_the_paired_interval_is_that_of_the_bootstrap_over_images():
    first, second = answers(1, 0.8).astype(float), answers(2, 0.7).astype(float)
    difference, interval = paired_difference([first], [second], same_images=True, luck=False)
    assert difference == pytest.approx(0.1)
    values = first - second
    found = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", random_state=0).confidence_interval
    assert interval == pytest.approx((found.low, found.high), abs=0.004)


def test_the_interval_over_seeds_has_the_luck_of_training():
    values, images = [0.80, 0.84, 0.88], 10_000_000  # of so many images that these add nothing
    cell = accuracy_cell(values, images, luck=True)
    degrees = PRIOR_DEGREES + 2
    variance = (PRIOR_DEGREES * PRIOR_LUCK**2 + 2 * np.var(values, ddof=1)) / degrees / 3
    half = student_t.ppf(0.975, degrees) * np.sqrt(variance)
    assert cell.value == pytest.approx(0.84)
    assert cell.by_seed == tuple(values)
    assert cell.interval == pytest.approx((0.84 - half, 0.84 + half), abs=1e-4)


def test_intervals_stay_within_0_and_1():
    assert accuracy_cell([1.0], 10, luck=True).interval[1] == 1.0
    assert accuracy_cell([0.0, 0.0], 10, luck=True).interval[0] == 0.0
    assert accuracy_cell([1.0], 10, luck=False).interval[1] <= 1.0
