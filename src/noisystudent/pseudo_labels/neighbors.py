"""Labels that spread over a graph of neighbors in feature space, and class prototypes: teachers without training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from noisystudent.runtime.blas import one_blas_thread

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

COMPONENTS = 256  # principal components in which distances are measured
NEIGHBORS = 15
NEAREST = 3  # labeled images that an image is compared with; 1 and 5 do as well (NOTEBOOK.md)
SPREAD = 0.9  # alpha of Zhou et al.: the share of a label that comes from the neighbors
_ITERATIONS = 50  # 0.9 to the 50th is 0.5%
_SHARPNESS = 3  # power of the cosine similarity, after Iscen et al. 2019, equation 9


@dataclass(frozen=True)
class NeighborGraph:
    """The nearest neighbors of images, as a symmetric matrix of weights that is normalized by degrees, [N, N]."""

    weights: sparse.csr_array

    def spread(self, rows: Ints, labels: Ints, classes: int) -> Floats:
        """Class probabilities of all images, float32 [N, K], by spreading the labels of some of them.

        Zhou et al., "Learning with Local and Global Consistency" (2003), by its iteration
        F = alpha S F + (1 - alpha) Y. Each class starts with the same total weight, so that one with more labels does
        not win for that alone. An image that no label reaches has equal probabilities.

        Args:
            rows: The labeled images, [L].
            labels: Their classes, [L].
            classes: The number of classes K.
        """
        given = np.zeros((self.weights.shape[0], classes), np.float32)
        counts = np.maximum(np.bincount(labels, minlength=classes), 1)
        given[rows, labels] = 1 / counts[labels]
        spread = given
        for _ in range(_ITERATIONS):
            spread = SPREAD * (self.weights @ spread) + (1 - SPREAD) * given
        total = spread.sum(axis=1, keepdims=True)
        return np.where(total > 0, spread / np.maximum(total, 1e-30), 1 / classes).astype(np.float32)


def reduce_features(features: Floats, *, whiten: bool = False) -> Floats:
    """The principal components of features [N, F]: float32 [N, min(256, N - 1, F)].

    Args:
        features: The features.
        whiten: Keep half as many components and give each the same variance.
    """
    count = min(COMPONENTS, len(features) - 1, features.shape[1])
    components = PCA(max(count // 2, 1) if whiten else count, whiten=whiten, random_state=0)
    with one_blas_thread():
        reduced = components.fit_transform(features)
    return np.asarray(reduced, np.float32)


def neighbor_graph(points: Floats) -> NeighborGraph:
    """The graph of the 15 nearest neighbors by cosine similarity, in either direction, of points [N, D]."""
    count = min(NEIGHBORS, len(points) - 1)
    distances, neighbors = NearestNeighbors(n_neighbors=count, metric="cosine").fit(points).kneighbors()
    similarity = np.maximum(1 - distances, 0) ** _SHARPNESS
    rows = np.repeat(np.arange(len(points)), count)
    one_way = sparse.csr_array((similarity.ravel(), (rows, neighbors.ravel())), shape=(len(points),) * 2)
    both_ways = one_way.maximum(one_way.T)
    degree = np.maximum(np.asarray(both_ways.sum(axis=1)).ravel(), 1e-30) ** -0.5
    scale = sparse.diags_array(degree)
    return NeighborGraph(sparse.csr_array(scale @ both_ways @ scale, dtype=np.float32))


@dataclass(frozen=True)
class Typicality:
    """How close images are to labeled ones, as a share of images that are known to be of some class.

    The distance of an image is that to its third nearest labeled image, by cosine, whatever their classes.

    Attributes:
        search: Finds the nearest labeled images.
        nearest: The number of the nearest one whose distance counts; 0 where there are too few to tell.
        known: The distances of images of some class, ascending, float64 [N].
    """

    search: NearestNeighbors
    nearest: int
    known: npt.NDArray[np.float64]

    def __call__(self, points: Floats) -> Floats:
        """The share of images of some class that are as far, of features [N, D]: float32 [N].

        From 1 / (L + 1), farther than any of the L known distances, to 1; for images of the same kind, all values are
        about equally frequent (a conformal p-value).
        """
        if not self.nearest or not len(points):
            return np.ones(len(points), np.float32)
        distance = self.search.kneighbors(points, n_neighbors=self.nearest)[0][:, self.nearest - 1]
        as_far = len(self.known) - np.searchsorted(self.known, distance, side="left")
        return np.asarray((1 + as_far) / (1 + len(self.known)), np.float32)

    @classmethod
    def among(cls, labeled: Floats) -> Typicality:
        """Compares with the distances of labeled images, [L, D], from each other; for features of a fixed network."""
        nearest = min(NEAREST, len(labeled) - 1)
        search = NearestNeighbors(n_neighbors=max(1, nearest), metric="cosine").fit(labeled)
        known = search.kneighbors()[0][:, nearest - 1] if nearest else np.zeros(len(labeled))  # not the image itself
        return cls(search, nearest, np.sort(known))

    @classmethod
    def beside(cls, labeled: Floats, held_out: Floats) -> Typicality:
        """Compares with the distances of held-out images, [V, D], from the labeled ones, [L, D].

        For features of a network that was trained on the labeled images, which lie too close together in them.
        """
        nearest = min(NEAREST, len(labeled))
        search = NearestNeighbors(n_neighbors=nearest, metric="cosine").fit(labeled)
        return cls(search, nearest, np.sort(search.kneighbors(held_out)[0][:, nearest - 1]))


def prototype_probabilities(points: Floats, rows: Ints, labels: Ints, classes: int, temperature: float = 0.1) -> Floats:
    """Class probabilities by cosine similarity to the mean of each class: float32 [N, K].

    Snell et al., "Prototypical Networks" (2017), with cosine similarity on fixed features.

    Args:
        points: Centered features, [N, D].
        rows: The labeled images, [L]; every class has one.
        labels: Their classes, [L].
        classes: The number of classes K.
        temperature: Divides the similarities.
    """
    unit = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    means = np.stack([unit[rows[labels == label]].mean(axis=0) for label in range(classes)])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    logits = unit @ means.T / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
