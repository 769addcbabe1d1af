"""The choice of a noise strength from the predictions that teachers made for labels that they did not see."""

import numpy as np
import pytest

from noisystudent.data.splits import HeldOutPredictions
from noisystudent.pipeline.noise_search import compare_strengths, fold_steps, weakest_as_good


def held_out(correct: int, labels: int = 100) -> HeldOutPredictions:
    """Labels of class 0, of which the first ``correct`` are predicted."""
    p = np.where(np.arange(labels) < correct, 0.9, 0.2)
    return HeldOutPredictions(
        tuple(map(str, range(labels))), np.zeros(labels, np.int64), np.log(np.stack([p, 1 - p], axis=1))
    )


def test_the_weakest_noise_within_two_standard_errors_of_the_best_is_chosen():
    far, near, best = compare_strengths({0.1: held_out(80), 0.25: held_out(87), 1.0: held_out(90)})
    assert near.behind == pytest.approx(0.03)
    # Three of a hundred labels differ, all one way: the standard deviation of a share of 0.03.
    assert near.standard_error == pytest.approx((0.03 * 0.97 / 99) ** 0.5)
    assert best.behind == best.standard_error == 0
    assert far.behind > 2 * far.standard_error
    assert weakest_as_good([far, near, best]) == 0.25
    assert weakest_as_good([far, best]) == 1.0


@pytest.mark.parametrize(("steps", "expected"), [(100, 50), (7, 4), (1, 1)])
def test_a_teacher_of_half_of_the_labels_trains_for_half_of_the_steps(steps, expected):
    assert fold_steps(steps) == expected
