"""The map: groups stay together, coordinates are from 0 to 1, and any number of images has one."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from noisystudent.findings import embedding
from noisystudent.findings.embedding import embed


def groups(per_group: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), per_group)
    return (8 * np.eye(12)[labels] + random.normal(size=(len(labels), 12))).astype(np.float32), labels


def test_groups_stay_together_also_for_images_that_follow_landmarks(monkeypatch):
    monkeypatch.setattr(embedding, "LANDMARKS", 60)
    points, labels = groups(60)
    places = embed(points)
    assert KNeighborsClassifier(5).fit(places[::2], labels[::2]).score(places[1::2], labels[1::2]) > 0.95


def test_the_same_images_have_the_same_map():
    points, _ = groups(10)
    assert np.array_equal(embed(points), embed(points))


@pytest.mark.parametrize("images", [0, 1, 2, 3, 7, 9])
def test_any_number_of_images_has_places_in_the_unit_square(images):
    places = embed(groups(3)[0][:images])
    assert places.shape == (images, 2)
    assert np.isfinite(places).all()
    assert places.min(initial=0) >= 0
    assert places.max(initial=1) <= 1


def test_equal_images_lie_in_the_middle():
    assert embed(np.ones((5, 4), np.float32)).tolist() == [[0.5, 0.5]] * 5
