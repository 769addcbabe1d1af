"""Splits are stratified, seeded and disjoint; checks name what does not match."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisystudent.data.checks import check_labels
from noisystudent.data.stratified import carve_validation, cross_fit_folds, draw_labeled, single_labels
from noisystudent.errors import DataError

labelings = st.lists(st.integers(0, 4), min_size=1, max_size=120).map(np.array)


def labels_of(*counts: int) -> np.ndarray:
    """Shuffled labels with the given count per class."""
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


@given(labelings, st.floats(0.01, 0.9), st.integers(0, 5))
def test_carving_is_a_stratified_partition(labels, fraction, seed):
    train, validation = carve_validation(labels, fraction, 2, seed)
    assert sorted([*train, *validation]) == list(range(len(labels)))
    assert list(train) == sorted(train)
    assert list(validation) == sorted(validation)
    counts = np.bincount(labels)
    if counts[counts > 0].min() < 2:
        assert not len(validation)
        return
    for label in np.unique(labels):
        carved = (labels[validation] == label).sum()
        assert 1 <= carved < counts[label]
        assert abs(carved - fraction * counts[label]) <= 1


def test_carving_takes_the_fraction_of_each_class():
    labels = labels_of(100, 50, 25)
    train, validation = carve_validation(labels, 0.2, 25, seed=0)
    assert np.bincount(labels[validation]).tolist() == [20, 10, 5]
    assert np.bincount(labels[train]).tolist() == [80, 40, 20]


def test_carving_depends_on_the_seed():
    labels = labels_of(60, 60)
    first, same, other = (carve_validation(labels, 0.2, 25, seed)[1] for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(("counts", "fraction"), [((100, 24), 0.2), ((4,) * 10, 0.2), ((100, 100), 0.0), ((), 0.2)])
def test_nothing_is_carved_from_few_labels(counts, fraction):
    labels = labels_of(*counts)
    train, validation = carve_validation(labels, fraction, 25, seed=0)
    assert train.tolist() == list(range(len(labels)))
    assert validation.shape == (0,)
    assert validation.dtype == np.int64


def test_drawing_takes_the_same_number_of_each_class():
    labels = labels_of(9, 4, 30)
    drawn, rest = draw_labeled(labels, 4, seed=0)
    assert np.bincount(labels[drawn]).tolist() == [4, 4, 4]
    assert sorted([*drawn, *rest]) == list(range(43))
    assert np.array_equal(draw_labeled(labels, 4, seed=0)[0], drawn)
    assert not np.array_equal(draw_labeled(labels, 4, seed=1)[0], drawn)
    with pytest.raises(DataError, match=r"The class 'owl' has 4 images, fewer than the 5 labels per class"):
        draw_labeled(labels, 5, seed=0, names=("cat", "owl", "dog"))
    with pytest.raises(DataError, match=r"The class with index 1 has 4 images"):
        draw_labeled(labels, 5, seed=0)


def test_draws_of_one_class_do_not_depend_on_the_others():
    few = draw_labeled(np.array([0] * 20 + [1] * 20), 3, seed=0)[0]
    many = draw_labeled(np.array([0] * 20 + [1] * 99), 3, seed=0)[0]
    assert np.array_equal(few[:3], many[:3])


def test_drawing_is_uniform():
    labels = labels_of(10)
    draws = np.zeros(10)
    for seed in range(1000):
        draws[draw_labeled(labels, 3, seed)[0]] += 1
    assert np.abs(draws - 300).max() < 5 * np.sqrt(300 * 0.7)  # five standard deviations


@given(labelings.filter(lambda labels: np.bincount(labels)[np.unique(labels)].min() >= 2), st.integers(2, 6))
def test_folds_are_a_stratified_partition(labels, folds):
    parts = cross_fit_folds(labels, folds, seed=0)
    assert len(parts) == folds
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    assert np.ptp([len(part) for part in parts]) <= 1
    for label in np.unique(labels):
        assert np.ptp([(labels[part] == label).sum() for part in parts]) <= 1
        for part in parts:
            assert (np.delete(labels, part) == label).any()  # the other folds always contain the class


def test_classes_with_a_single_label_are_found():
    assert single_labels(labels_of(5, 1, 5, 0, 1)) == [1, 4]
    assert single_labels(labels_of(2, 2)) == []


def test_folds_depend_on_the_seed():
    labels = labels_of(20, 20)
    folds, same, other = (cross_fit_folds(labels, 4, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first, second) for first, second in zip(folds, same, strict=True))
    assert not all(np.array_equal(first, second) for first, second in zip(folds, other, strict=True))


def test_labels_must_have_every_class():
    check_labels(np.array([0, 1, 1]), ("a", "b"), "labeled")
    with pytest.raises(DataError, match=r"labeled source has no readable image of 'b', 'd'"):
        check_labels(np.array([0, 2]), ("a", "b", "c", "d"), "labeled")
    with pytest.raises(DataError, match=r"has the classes 'a', and at least 2"):
        check_labels(np.array([0, 0]), ("a",), "labeled")
