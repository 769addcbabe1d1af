"""Two ways of training over several seeds: against the verdict's formula, by closed form and by simulation."""

import numpy as np
import pytest

from noisystudent.evaluation.paired_trainings import compare_trainings
from noisystudent.evaluation.verdict import PRIOR_LUCK, compare_with_controls


def answers(rng, accuracy, count):
    return rng.random(count) < accuracy


def test_one_seed_gives_what_the_verdict_gives_with_one_control():
    rng = np.random.default_rng(0)
    student, control = answers(rng, 0.8, 500), answers(rng, 0.7, 500)

    difference, interval = compare_trainings([student.astype(float) - control], same_images=True)

    verdict = compare_with_controls(student, [control])
    assert difference == pytest.approx(verdict.difference, abs=1e-12)
    assert interval == pytest.approx(verdict.interval, abs=1e-12)


def test_without_luck_the_interval_is_that_of_the_images_alone():
    values = np.array([1.0] * 30 + [-1.0] * 10 + [0.0] * 60)

    difference, (low, high) = compare_trainings([values], same_images=True, luck=False)

    assert difference == pytest.approx(0.2)
    # variance: (sum of squared deviations + 1) / N^2 = (36 + 1) / 10,000; 1.984 is the quantile with 99 degrees.
    assert high - low == pytest.approx(2 * 1.98422 * np.sqrt(37) / 100, rel=1e-4)


def test_more_seeds_on_other_images_narrow_the_interval_as_much_as_more_images():
    rng = np.random.default_rng(1)
    parts = [rng.choice([-1.0, 0.0, 1.0], 400) for _ in range(3)]

    _, several = compare_trainings(parts, same_images=False, luck=False)
    _, one = compare_trainings([np.concatenate(parts)], same_images=True, luck=False)

    assert several == pytest.approx(one, rel=1e-3)


def simulated(rng, seeds, count, luck):
    """Differences per image of two equal ways of training, whose accuracies scatter by ``luck`` between trainings."""
    chance = rng.beta(2, 1, count)  # images differ in how hard they are
    rows = []
    for _ in range(seeds):
        first, second = (rng.random(count) < np.clip(chance + rng.normal(0, luck), 0, 1) for _ in range(2))
        rows.append(first.astype(float) - second)
    return rows


@pytest.mark.parametrize(("seeds", "count"), [(1, 1000), (3, 300), (3, 3000)])
def test_where_nothing_differs_the_interval_of_95_percent_covers_in_93_to_98_percent(seeds, count):
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(800):
        _, (low, high) = compare_trainings(simulated(rng, seeds, count, PRIOR_LUCK), same_images=True)
        covered += low <= 0 <= high

    assert 0.93 <= covered / 800 <= 0.98
