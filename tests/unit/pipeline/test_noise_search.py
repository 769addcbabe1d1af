"""The choice of a noise strength from the predictions that teachers made for labels that they did not see."""

import numpy as np
import pytest

import noisystudent
from data_images import class_folders, write_image
from noisystudent.artifacts.typed_json import read_result
from noisystudent.data.splits import HeldOutPredictions
from noisystudent.pipeline.noise_search import compare_strengths, fold_steps, weakest_as_good
from noisystudent.results.facts import StrengthChoice

QUICK = {"train.steps": 1, "train.batch_size": 4, "model.teacher": "tiny_resnet", "noise.strengths": [0.5, 0.25]}


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


def test_a_single_validation_label_shows_no_difference():
    only, other = compare_strengths({0.5: held_out(1, labels=1), 1.0: held_out(0, labels=1)})
    assert (only.standard_error, other.standard_error) == (0, 0)
    assert weakest_as_good([only, other]) == 0.5


def test_with_a_single_label_in_a_class_the_weakest_strength_is_used_without_a_search(tmp_path, capsys):
    class_folders(tmp_path / "labeled", ("0", "1", "10"), per_class=2)
    (tmp_path / "labeled/10/0.png").unlink()
    noisystudent.train(tmp_path / "labeled", out=tmp_path / "model", settings=QUICK)
    said = capsys.readouterr().err
    assert "cross-fitting needs at least 2 labels per class, and there is 1 of '10'; strength 0.25" in said
    choice = read_result(StrengthChoice, tmp_path / "model.strength/choice/summary.json")
    assert choice == StrengthChoice(chosen=0.25, by="few labels")
    write_image(tmp_path / "unlabeled/0.png", seed=1)
    arguments = {"labeled": tmp_path / "labeled", "unlabeled": tmp_path / "unlabeled", "out": tmp_path / "run"}
    stages = noisystudent.plan(**arguments, settings=QUICK, quiet=True).stages
    assert [stage.name for stage in stages][:2] == ["strength/choice", "teacher"]
