"""Teachers on features share the labeling by their cross-fitted accuracy."""

import numpy as np
import pytest

from noisystudent.models.calibration import Calibration
from noisystudent.pipeline.features.cross_fit import choose_penalty
from noisystudent.pipeline.features.teachers import weights_by_accuracy
from noisystudent.pipeline.heads.evidence import calibration_of
from noisystudent.results.facts import HeadEvidence


def test_five_points_more_weigh_e_times_as_much():
    weights = weights_by_accuracy({"head": 0.80, "graph": 0.75, "prototypes": 0.30})
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["head"] / weights["graph"] == pytest.approx(np.e)
    assert weights["prototypes"] < 1e-4


def test_equal_teachers_share_equally():
    assert weights_by_accuracy({"head": 0.5, "graph": 0.5}) == {"head": 0.5, "graph": 0.5}


@pytest.mark.parametrize(
    ("student", "labels_only", "p_value", "worse"),
    [(0.6, 0.7, 0.01, True), (0.6, 0.7, 0.2, False), (0.7, 0.6, 0.01, False)],
)
def test_a_student_is_worse_only_if_the_labels_show_it(student, labels_only, p_value, worse):
    evidence = HeadEvidence(student=student, labels_only=labels_only, p_value=p_value, labels=100)
    assert evidence.student_is_worse(0.05) is worse


def test_the_calibration_is_that_of_the_delivered_head():
    scores = {"student": 0.7, "labels_only": 0.6, "p_value": 0.1, "labels": 40}
    evidence = HeadEvidence(**scores, student_temperature=0.5, labels_only_temperature=2.0)
    for student, temperature in ((True, 0.5), (False, 2.0)):
        found = calibration_of(evidence, student=student)
        assert found == Calibration(temperature=temperature, labels=40, fitted_on="cross-fitted labels")
    assert calibration_of(HeadEvidence(**scores), student=True) is None  # of an earlier version


def test_a_weight_decay_that_is_given_is_not_compared_with_others():
    class Untouched:
        def fit(self, rows, penalty):
            raise AssertionError("a head was fitted")

    assert choose_penalty(Untouched(), [object()], given=0.01) == 0.01
    assert choose_penalty(Untouched(), []) > 0  # a class has a single label
