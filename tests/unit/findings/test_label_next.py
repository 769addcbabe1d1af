"""What to label next: unsure images, no two alike."""

import numpy as np
import pytest

from noisystudent.findings.label_next import choose_to_label, closeness


def test_closeness_is_one_minus_the_margin():
    log_probabilities = np.log(np.array([[0.5, 0.5, 1e-9], [0.9, 0.05, 0.05]], np.float32))
    assert closeness(log_probabilities) == pytest.approx([1.0, 0.15], abs=1e-5)


def test_sure_images_are_not_chosen_and_copies_come_last():
    close, sure = [0.5, 0.5], [0.99, 0.01]
    log_probabilities = np.log(np.array([close, close, close, sure], np.float32))
    points = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], np.float32)
    assert choose_to_label(log_probabilities, points, 2).tolist() == [0, 2]


def test_the_most_unsure_is_first_and_nothing_is_chosen_twice():
    random = np.random.default_rng(0)
    answers = random.dirichlet(np.ones(4), 300).astype(np.float32)
    chosen = choose_to_label(np.log(answers), random.normal(size=(300, 8)).astype(np.float32), 50)
    assert len(set(chosen.tolist())) == 50
    assert chosen[0] == closeness(np.log(answers)).argmax()


@pytest.mark.parametrize("images", [0, 1, 3])
def test_fewer_images_than_asked_are_all_chosen(images):
    log_probabilities = np.full((images, 2), np.log(0.5), np.float32)
    points = np.eye(4, dtype=np.float32)[:images]
    assert sorted(choose_to_label(log_probabilities, points, 10).tolist()) == list(range(images))
