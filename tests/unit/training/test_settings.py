"""How long a stage trains and on which images: the arithmetic of batches, epochs, rates and controls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisystudent.training.settings import TrainSettings

LABELED_IMAGES, SHARE_OF_PAPER = 1_281_167, 2_048  # of ImageNet, and of a step (Xie et al. 2020, section 4.1)


def settings(**values) -> TrainSettings:
    return TrainSettings(**values)


def test_a_shared_batch_is_split_and_a_labeled_one_has_pseudo_labels_on_top():
    assert settings(batch_size=128).student_counts(1) == (32, 96)
    assert settings(batch_size=2, ratio=30).student_counts(1) == (1, 1)
    assert settings(batch_size=128, batch="labeled").student_counts(1) == (128, 384)
    assert settings(batch_size=128, batch="labeled", ratio=0.001).student_counts(1) == (128, 1)
    by_round = settings(batch_size=SHARE_OF_PAPER, batch="labeled", ratio=(14, 14, 28))
    assert [by_round.student_counts(number)[1] for number in (1, 2, 3)] == [28_672, 28_672, 57_344]


def test_epochs_are_those_of_the_labeled_images():
    paper = settings(epochs=350, batch_size=4096, batch="labeled")
    assert paper.with_epochs(LABELED_IMAGES).steps == pytest.approx(109_474, abs=1)  # train.sh of the release
    assert settings(epochs=0.1, batch_size=100).with_epochs(50).steps == 1
    assert settings(steps=7).with_epochs(LABELED_IMAGES).steps == 7


def test_the_rate_counts_labeled_images_alone():
    paper = settings(learning_rate=0.016, rate_per_256=True, batch_size=SHARE_OF_PAPER, batch="labeled")
    labeled, _ = paper.student_counts(1)
    assert paper.with_rate(labeled).learning_rate == pytest.approx(0.128)
    assert paper.with_rate(labeled).with_rate(labeled).learning_rate == pytest.approx(0.128)
    shared = settings(learning_rate=0.016, rate_per_256=True, batch_size=SHARE_OF_PAPER)
    assert shared.with_rate(shared.student_counts(1)[0]).learning_rate == pytest.approx(0.032)
    assert settings(learning_rate=0.5).with_rate(4096).learning_rate == 0.5


def test_a_control_of_several_stages_has_one_schedule_over_all_their_steps():
    three = settings(steps=100, stop_after=40, batch_size=32).for_samples(3 * 40 * 32)
    assert (three.steps, three.stop_after, three.last) == (300, 120, 120)
    late = settings(steps=100, stop_after=400, batch_size=32).for_samples(2 * 100 * 32)
    assert (late.steps, late.stop_after) == (200, 800)


@given(st.integers(1, 500), st.integers(0, 600), st.integers(2, 300), st.integers(1, 10**7))
def test_a_control_sees_as_many_samples_and_less_than_one_step_more(steps, stop_after, batch_size, samples):
    control = settings(steps=steps, stop_after=stop_after, batch_size=batch_size).for_samples(samples)
    assert 0 <= control.last * batch_size - samples < batch_size


def test_the_weights_of_a_student_that_starts_from_its_teacher_saw_the_stages_before():
    cold = settings(batch_size=10, batch="labeled", ratio=(1, 2))
    assert (cold.images_behind(1), cold.images_behind(2)) == (20, 30)
    warm = cold.model_copy(update={"warm_start": True})
    assert warm.images_behind(2) == 10 + 20 + 30
