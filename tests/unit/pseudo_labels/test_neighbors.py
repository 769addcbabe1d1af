"""Labels spread over a neighbor graph as the closed form says, and prototypes answer by similarity."""

import numpy as np
import pytest
from sklearn.neighbors import kneighbors_graph

from noisystudent.pseudo_labels.neighbors import (
    NEIGHBORS,
    SPREAD,
    Typicality,
    neighbor_graph,
    prototype_probabilities,
    reduce_features,
)


@pytest.fixture(scope="module")
def clusters():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 40)
    points = random.normal(size=(3, 20))[labels] * 2 + random.normal(size=(120, 20))
    return points.astype(np.float32), labels


def test_a_copy_is_a_neighbor_and_no_point_is_its_own(clusters):
    points = np.repeat(clusters[0], 3, axis=0)  # the nearest point of each is as near as itself
    weights = neighbor_graph(points).weights
    assert not weights.diagonal().any()
    assert (np.diff(weights.indptr) >= 15).all()


def test_spreading_is_the_closed_form_of_zhou_et_al(clusters):
    points, labels = clusters
    graph = neighbor_graph(points)
    rows = np.array([0, 1, 2, 40, 80])
    given = np.zeros((120, 3))
    given[[0, 1, 2], 0], given[40, 1], given[80, 2] = 1 / 3, 1, 1
    exact = np.linalg.solve(np.eye(120) - SPREAD * graph.weights.toarray(), (1 - SPREAD) * given)
    expected = exact / exact.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(graph.spread(rows, labels[rows], 3), expected, atol=0.01)
    assert (graph.spread(rows, labels[rows], 3).argmax(axis=1) == labels).mean() > 0.95


def test_the_graph_has_scikit_learns_neighbors_and_is_symmetric(clusters):
    points, _ = clusters
    weights = neighbor_graph(points).weights
    one_way = kneighbors_graph(points, NEIGHBORS, metric="cosine").toarray() > 0
    assert ((weights.toarray() > 0) == (one_way | one_way.T)).all()
    np.testing.assert_allclose(weights.toarray(), weights.toarray().T, rtol=1e-6)
    assert np.linalg.eigvalsh(weights.toarray()).max() == pytest.approx(1, abs=1e-5)


def test_an_image_that_no_label_reaches_has_equal_probabilities():
    angles = np.concatenate([np.linspace(0, 0.1, 20), np.linspace(3, 3.1, 20)])
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    answers = neighbor_graph(points).spread(np.array([0, 1]), np.array([0, 1]), 2)
    np.testing.assert_allclose(answers[20:], 0.5)
    np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-6)


def test_few_points_make_a_graph_too():
    points = np.eye(3, dtype=np.float32) + 0.1
    assert neighbor_graph(points).spread(np.array([0]), np.array([0]), 2).shape == (3, 2)
    assert reduce_features(points).shape == (3, 2)


def test_prototypes_answer_by_the_cosine_to_the_mean_of_each_class():
    points = np.array([[1, 0], [0, 2], [3, 0.3], [1, 1]], np.float32)
    answers = prototype_probabilities(points, np.array([0, 1]), np.array([0, 1]), 2, temperature=0.5)
    cosines = points[3] / np.linalg.norm(points[3])
    expected = np.exp(cosines / 0.5) / np.exp(cosines / 0.5).sum()
    np.testing.assert_allclose(answers[3], expected, rtol=1e-6)
    assert answers.argmax(axis=1).tolist()[:3] == [0, 1, 0]


def test_typicality_is_the_share_of_labeled_images_that_are_as_far_from_each_other(clusters):
    points, _ = clusters
    labeled, others = points[::4], points[1::4]

    def distance_to_third(point, rows):
        cosine = rows @ point / np.linalg.norm(rows, axis=1) / np.linalg.norm(point)
        return np.sort(1 - cosine)[2]

    own = np.array([distance_to_third(row, np.delete(labeled, i, axis=0)) for i, row in enumerate(labeled)])
    expected = [(1 + (own >= distance_to_third(row, labeled)).sum()) / (1 + len(own)) for row in others]
    assert np.allclose(Typicality.among(labeled)(others), expected)

    held_out = points[2::4]
    known = np.array([distance_to_third(row, labeled) for row in held_out])
    expected = [(1 + (known >= distance_to_third(row, labeled)).sum()) / (1 + len(known)) for row in others]
    assert np.allclose(Typicality.beside(labeled, held_out)(others), expected)


def test_typicality_is_even_for_images_of_the_same_kind_and_least_for_others():
    random = np.random.default_rng(1)
    labeled, same = random.normal(size=(300, 8)) + 3, random.normal(size=(3000, 8)) + 3
    typicality = Typicality.among(labeled.astype(np.float32))
    even = typicality(same.astype(np.float32))
    assert all(abs((even <= level).mean() - level) < 0.05 for level in (0.1, 0.3, 0.5, 0.8))
    foreign = typicality(-same.astype(np.float32))
    assert np.allclose(foreign, 1 / 301)


def test_a_single_labeled_image_says_nothing_of_foreign_ones():
    alone = Typicality.among(np.ones((1, 3), np.float32))
    assert alone(np.eye(3, dtype=np.float32)).tolist() == [1, 1, 1]
