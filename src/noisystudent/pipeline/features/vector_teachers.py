"""Who labels unlabeled feature vectors: the current network, neighbor graphs and prototypes, and their weighted mean.

They are the teachers of ``pipeline/heads``, weighted alike, with a network instead of a linear head. Each weighs by how
many labels it predicts that it did not see, where a linear head stands for the network, because it takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import numpy.typing as npt

from noisystudent.pipeline.features.cross_fit import FEW_LABELS_PENALTY, Fold, folds_of_labels
from noisystudent.pipeline.features.teachers import MOST_POINTS, weights_by_accuracy
from noisystudent.pseudo_labels.neighbors import (
    NeighborGraph,
    neighbor_graph,
    prototype_probabilities,
    reduce_features,
)
from noisystudent.runtime.device import ON_CPU
from noisystudent.training.linear_head import HeadData, Scaler, fit_head

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

NETWORK = "network"
TEACHERS = ("graph", "whitened graph", "distance graph", "prototypes")


class VectorTeachers:
    """The teachers of unlabeled feature vectors.

    Args:
        labeled: Standardized features of the labeled rows, float32 [L, F].
        labels: Their classes, [L]; every class has one.
        unlabeled: Standardized features of the others, float32 [U, F].
        seed: The seed of the folds.
    """

    def __init__(self, labeled: Floats, labels: Ints, unlabeled: Floats, seed: int) -> None:
        self._points, self._labels = np.concatenate([labeled, unlabeled]), labels
        self._classes = int(labels.max()) + 1
        self._names = TEACHERS if len(self._points) <= MOST_POINTS else ("prototypes",)
        self.weights = self._weights(folds_of_labels(labels, seed))

    def mean(self, network: Floats) -> Floats:
        """The weighted mean of the class probabilities of the unlabeled rows, float32 [U, K]; ``network``: its own."""
        everything = np.arange(len(self._labels))
        parts = {name: self._answers(name, everything)[len(self._labels) :] for name in self._names} | {
            NETWORK: network
        }
        return np.asarray(sum(self.weights[name] * part for name, part in parts.items()), np.float32)

    def _weights(self, folds: list[Fold]) -> Mapping[str, float]:
        """The weight of each teacher; they sum to 1, and are equal where a class has a single label."""
        names = (NETWORK, *self._names)
        if not folds:
            return dict.fromkeys(names, 1 / len(names))
        top1 = {name: float(np.concatenate([self._is_right(name, fold) for fold in folds]).mean()) for name in names}
        return weights_by_accuracy(top1)

    def _is_right(self, name: str, fold: Fold) -> npt.NDArray[np.bool_]:
        answers = (
            self._head(fold.rest, fold.held_out) if name == NETWORK else self._answers(name, fold.rest)[fold.held_out]
        )
        return np.asarray(answers.argmax(axis=1) == self._labels[fold.held_out])

    def _answers(self, name: str, rows: Ints) -> Floats:
        """The class probabilities of all points, from the labels of some rows."""
        labels = self._labels[rows]
        if name == "prototypes":
            return prototype_probabilities(self._points, rows, labels, self._classes)
        return self._graphs[name].spread(rows, labels, self._classes)

    def _head(self, rows: Ints, asked: Ints) -> Floats:
        """A linear head's class probabilities for some labeled rows, from the labels of others."""
        targets = np.eye(self._classes, dtype=np.float32)[self._labels[rows]]
        weights = np.full(len(rows), 1 / len(rows), np.float32)
        data = [HeadData([self._points[rows]], targets, weights)]
        head = fit_head(data, Scaler.of([self._points]), FEW_LABELS_PENALTY, ON_CPU.device)
        return head.log_probabilities(self._points[asked])

    @cached_property
    def _graphs(self) -> dict[str, NeighborGraph]:
        reduced, whitened = (reduce_features(self._points, whiten=whiten) for whiten in (False, True))
        return {
            "graph": neighbor_graph(reduced),
            "whitened graph": neighbor_graph(whitened),
            "distance graph": neighbor_graph(_lifted(reduced)),
        }


def _lifted(points: Floats) -> Floats:
    """Points with one more coordinate, equal for all, so that cosine similarity ranks neighbors as distance does."""
    height = np.linalg.norm(points, axis=1).max()
    return np.column_stack([points, np.full(len(points), max(height, 1e-12), np.float32)])
