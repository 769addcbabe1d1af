"""A map of images: two coordinates each, so that similar images lie close to each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from noisystudent.data.sample import evenly_spread
from noisystudent.runtime.blas import one_blas_thread

Floats = npt.NDArray[np.float32]

LANDMARKS = 750  # images that t-SNE places; the others follow their neighbors among these, which takes no time
COMPONENTS = 50  # principal components, as van der Maaten and Hinton 2008 take
PERPLEXITY = 30.0
_ITERATIONS = 350
_NEIGHBORS = 3
_FEWEST = 8  # images below which the first two components are the map


def embed(points: Floats) -> Floats:
    """Coordinates float32 [N, 2] from 0 to 1, by t-SNE (van der Maaten and Hinton 2008) from a start by components.

    Of more than 750 images, evenly spaced ones are placed by t-SNE; each other one lies at the mean of its nearest
    three, weighted by closeness.

    Args:
        points: Features, [N, F].
    """
    count = min(COMPONENTS, len(points), points.shape[1])
    if len(points) < 2 or np.ptp(points, axis=0).max(initial=0) == 0:
        return np.full((len(points), 2), 0.5, np.float32)
    with one_blas_thread():
        reduced = np.asarray(PCA(count, random_state=0).fit_transform(points), np.float32)
        if len(points) < _FEWEST or count < 2:
            flat = np.zeros((len(points), 2), np.float32)
            flat[:, : min(2, count)] = reduced[:, :2]
            return _scaled(flat)
        landmarks = evenly_spread(len(points), LANDMARKS)
        placed = TSNE(
            perplexity=min(PERPLEXITY, (len(landmarks) - 1) / 3), init="pca", max_iter=_ITERATIONS, random_state=0
        ).fit_transform(reduced[landmarks])
    return _scaled(np.asarray(_follow(reduced, reduced[landmarks], placed), np.float32))


def _follow(points: Floats, landmarks: Floats, placed: Floats) -> Floats:
    """The coordinates of all points, from those of their nearest landmarks; a landmark keeps its own."""
    count = min(_NEIGHBORS, len(landmarks))
    distances, nearest = NearestNeighbors(n_neighbors=count).fit(landmarks).kneighbors(points)
    weights = 1 / np.maximum(distances, 1e-9)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray((placed[nearest] * weights[:, :, None]).sum(axis=1), np.float32)


def _scaled(places: Floats) -> Floats:
    """Coordinates from 0 to 1 in both directions."""
    low, span = places.min(axis=0), np.ptp(places, axis=0)
    return np.asarray((places - low) / np.where(span > 0, span, 1), np.float32)
