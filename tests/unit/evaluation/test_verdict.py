"""The verdict on a student against labels-only training: its formula against references, its interval by simulation."""

import numpy as np
import pytest
from scipy.stats import t, ttest_rel

from noisystudent.evaluation.verdict import (
    PRIOR_DEGREES,
    PRIOR_LUCK,
    Verdict,
    compare_with_controls,
    luck_of_training,
    reach_verdict,
)


def trainings(rng, images, models, luck, accuracy=0.8):
    """Whether several models are correct on each image, bool [models, images]; nothing but luck tells them apart.

    An image is easy or hard by a probability from a beta distribution, and the luck of a training moves all of these.
    """
    easy = rng.beta(3 * accuracy, 3 * (1 - accuracy), images)
    room = np.minimum(easy, 1 - easy)
    moved = easy + luck * rng.standard_normal((models, 1)) * room / room.mean()
    return rng.uniform(size=(models, images)) < moved


def covered(rng, images, controls, luck):
    correct = trainings(rng, images, controls + 1, luck)
    low, high = compare_with_controls(correct[0], list(correct[1:])).interval
    return low <= 0 <= high


def coverage(luck, controls=(1, 2, 3), images=(200, 1000, 5000), repeats=600):
    """The share of intervals that hold 0 in runs in which nothing helps: an array [controls, images]."""
    rng = np.random.default_rng(17)
    return np.array(
        [[np.mean([covered(rng, size, m, luck) for _ in range(repeats)]) for size in images] for m in controls]
    )


@pytest.mark.parametrize("luck", [0.0, PRIOR_LUCK / 2])
def test_where_nothing_helps_and_luck_is_small_the_interval_covers_at_least_as_often_as_it_says(luck):
    assert coverage(luck, repeats=120).min() >= 0.93


def test_where_nothing_helps_the_interval_of_95_percent_covers_in_93_to_97_percent():
    shares = coverage(PRIOR_LUCK)
    assert 0.93 <= shares.mean() <= 0.97
    assert shares.min() >= 0.92  # 600 repeats of a cell: one standard error is 0.9 percent


def test_twice_the_prior_is_too_much_for_one_control_and_more_controls_help():
    shares = coverage(2 * PRIOR_LUCK, controls=(1, 6), images=(5000,))
    assert 0.70 <= shares[0, 0] <= 0.90
    assert shares[1, 0] > shares[0, 0] + 0.05


def test_without_luck_the_comparison_with_one_control_is_a_paired_t_test():
    rng = np.random.default_rng(3)
    student, control = rng.uniform(size=4000) < 0.83, rng.uniform(size=4000) < 0.81
    comparison = compare_with_controls(student, [control], luck=False)
    reference = ttest_rel(student.astype(float), control.astype(float))
    low, high = reference.confidence_interval()
    assert comparison.difference == pytest.approx(student.mean() - control.mean())
    assert comparison.p_value == pytest.approx(reference.pvalue, abs=1e-3)
    assert comparison.interval == pytest.approx((low, high), abs=1e-4)
    assert comparison.luck == 0


def test_without_luck_equal_models_have_an_interval_that_is_not_a_point():
    correct = np.array([True, True, False])
    comparison = compare_with_controls(correct, [correct], luck=False)
    assert comparison.interval[0] < 0 < comparison.interval[1]
    assert comparison.p_value == 1


def test_with_endless_images_one_control_leaves_the_prior_alone():
    correct = np.resize([True, True, True, False], 4_000_000)
    comparison = compare_with_controls(correct, [correct])
    half = t.ppf(0.975, PRIOR_DEGREES) * PRIOR_LUCK * np.sqrt(2)
    assert comparison.interval == pytest.approx((-half, half), rel=1e-3)
    assert comparison.luck == PRIOR_LUCK
    assert comparison.controls == 1


def test_the_p_value_agrees_with_the_interval():
    rng = np.random.default_rng(5)
    for _ in range(100):
        controls = int(rng.integers(1, 5))
        correct = trainings(rng, int(rng.integers(30, 600)), controls + 1, 0.03)
        for luck in (True, False):
            comparison = compare_with_controls(correct[0], list(correct[1:]), luck=luck)
            low, high = comparison.interval
            assert (comparison.p_value < 0.05) == (low > 0 or high < 0)


def test_the_luck_is_that_of_many_trainings_and_the_prior_of_none():
    rng = np.random.default_rng(7)
    many = trainings(rng, 20_000, 200, 0.02).astype(float)
    variance, degrees = luck_of_training(many)
    assert np.sqrt(variance) == pytest.approx(0.02, rel=0.15)
    assert degrees > 100
    assert luck_of_training(many[:1]) == (PRIOR_LUCK**2, PRIOR_DEGREES)


def test_controls_that_few_images_scatter_weigh_little_against_the_prior():
    rng = np.random.default_rng(9)
    few, many = (trainings(rng, images, 4, PRIOR_LUCK).astype(float) for images in (50, 50_000))
    assert luck_of_training(few)[1] < PRIOR_DEGREES + 0.1
    assert luck_of_training(many)[1] > PRIOR_DEGREES + 2


def test_two_labels_only_trainings_are_not_told_apart_by_a_test_set_of_thousands():
    rng = np.random.default_rng(11)
    correct = trainings(rng, 6000, 2, 0.0)
    correct[0] |= rng.uniform(size=6000) < 0.08  # 1.6 points better, by luck
    alone = compare_with_controls(correct[0], [correct[1]], luck=False)
    assert alone.p_value < 0.05
    assert reach_verdict(alone, "test").decision == "keep"
    with_luck = reach_verdict(compare_with_controls(correct[0], [correct[1]]), "test")
    assert with_luck.decision == "no clear gain"
    assert "the luck of training" in with_luck.reason


def test_the_verdict_follows_the_interval():
    correct, wrong = np.ones(200, bool), np.zeros(200, bool)
    better = np.concatenate([correct[:180], wrong[:20]])
    worse = np.concatenate([correct[:140], wrong[:60]])
    slightly = np.concatenate([correct[:179], wrong[:21]])
    kept = reach_verdict(compare_with_controls(better, [worse, worse]), "test")
    assert (kept.decision, kept.controls, kept.labels, kept.source) == ("keep", 2, 200, "test")
    assert reach_verdict(compare_with_controls(worse, [better]), "test").decision == "worse"
    assert reach_verdict(compare_with_controls(better, [slightly]), "test").decision == "no clear gain"
    assert reach_verdict(compare_with_controls(better, [better]), "test").difference == 0
    nothing = reach_verdict(None, "none")
    assert (nothing.decision, nothing.difference, nothing.labels) == ("no clear gain", None, 0)


def test_in_short_nothing_was_compared_where_there_is_no_difference():
    assert Verdict("no clear gain", "there is no control").in_short == "not compared"
    assert Verdict("no clear gain", difference=0.01).in_short == "no clear gain"
