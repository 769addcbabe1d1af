"""Images of no class: planted strangers are found, images of the same kind are not."""

import numpy as np
import pytest

from noisystudent.findings.out_of_class import find_out_of_class, significant


def directions(count: int, around: np.ndarray, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (around + 0.3 * random.normal(size=(count, len(around)))).astype(np.float32)


KNOWN, OTHER = np.eye(16)[0], -np.eye(16)[0]


@pytest.mark.parametrize("strangers", [4, 20, 60])
def test_planted_strangers_are_found(strangers):
    labeled = directions(50, KNOWN, 0)
    points = np.concatenate([directions(200, KNOWN, 1), directions(strangers, OTHER, 2)])
    found = find_out_of_class(points, labeled)
    assert found.outside[200:].all()
    assert found.outside[:200].mean() < 0.2
    assert found.threshold == found.distances[found.outside].min()


def test_images_of_the_same_kind_are_not_of_no_class():
    found = [
        find_out_of_class(directions(500, KNOWN, 1 + seed), directions(50, KNOWN, 100 + seed)) for seed in range(8)
    ]
    assert np.mean([one.outside.mean() for one in found]) < 0.01
    assert np.median([one.outside.sum() for one in found]) == 0


@pytest.mark.parametrize(("labels", "images"), [(0, 5), (1, 5), (2, 5), (3, 0)])
def test_too_few_labels_or_images_find_nothing(labels, images):
    found = find_out_of_class(directions(images, OTHER, 1), directions(labels, KNOWN, 0))
    assert found.threshold is None
    assert found.outside.tolist() == [False] * images


def test_equal_labeled_images_are_no_division_by_zero():
    labeled = np.ones((5, 3), np.float32)
    assert find_out_of_class(np.ones((4, 3), np.float32), labeled).outside.tolist() == [False] * 4


def test_significance_is_that_of_benjamini_and_hochberg():
    # The example of the paper (Benjamini and Hochberg 1995, section 4): 15 p-values, 4 of them rejected at 0.05.
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    p_values += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert significant(np.array(p_values), 0.05).sum() == 4
