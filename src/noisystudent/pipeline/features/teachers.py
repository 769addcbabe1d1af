"""Who labels the unlabeled images on features: heads, neighbor graphs and prototypes, and their weighted mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
import torch

from noisystudent.artifacts.folder import fingerprint_of
from noisystudent.pipeline.features.stage import RunFeatures
from noisystudent.pseudo_labels.neighbors import (
    NeighborGraph,
    Typicality,
    neighbor_graph,
    prototype_probabilities,
    reduce_features,
)
from noisystudent.training.linear_head import HeadData, LinearHead, fit_head

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

TEACHERS = ("head", "graph", "whitened_graph", "prototypes")
MOST_POINTS = 50_000  # images of a neighbor graph: the search for neighbors takes minutes beyond
LEAST = 1e-12  # probability whose logarithm is taken
MOST_COMPARED = 5_000  # labeled images that unlabeled ones are compared with
PREFERENCE = 20.0  # a teacher that is 5 points better by cross-fitting weighs e times as much


@dataclass(frozen=True, eq=False)
class FeatureTeachers:
    """The teachers that learn from labels on features, without training or in seconds.

    They answer for all points: the labeled images, then the unlabeled ones. ``others`` are teachers of the same images
    on further backbones; ``logit_adjustment`` is that of all heads.
    """

    features: RunFeatures
    labels: Ints
    classes: int
    device: torch.device
    others: tuple[OtherTeachers, ...] = ()
    logit_adjustment: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """The teachers that these images allow."""
        own = TEACHERS if len(self._points) <= MOST_POINTS else ("head", "prototypes")
        return (*own, *(name for other in self.others for name in other.names))

    @property
    def fingerprint(self) -> str:
        """Identifies the features that they learn on, and how those on further backbones learn."""
        if not self.others:
            return self.features.fingerprint
        others = [[other.teachers.features.fingerprint, other.penalty] for other in self.others]
        return fingerprint_of([self.features.fingerprint, others])

    def fit(self, rows: Ints, penalty: float) -> LinearHead:
        """A labels-only head on some labeled rows, under all views."""
        data, tau = [self.labeled(rows)], self.logit_adjustment
        return fit_head(data, self.features.scaler, penalty, self.device, logit_adjustment=tau)

    def labeled(self, rows: Ints, share: float = 1.0) -> HeadData:
        """Some labeled rows with their labels; their weights sum to ``share``."""
        views = [view[rows] for view in self.features.labeled]
        weights = np.full(len(rows), share / len(rows), np.float32)
        return HeadData(views, np.eye(self.classes, dtype=np.float32)[self.labels[rows]], weights)

    def probabilities(self, name: str, rows: Ints, head: LinearHead) -> Floats:
        """A teacher's class probabilities for all points, float32 [L + U, K].

        Args:
            name: The teacher.
            rows: The labeled rows that it may know.
            head: The current head, for the teacher of that name.
        """
        for other in self.others:
            if name in other.names:
                return other.probabilities(name, rows)
        labels = self.labels[rows]
        if name == "head":
            return np.exp(head.log_probabilities(self._points))
        if name == "prototypes":
            return prototype_probabilities(self._standardized, rows, labels, self.classes)
        graph = self._graph if name == "graph" else self._whitened_graph
        return graph.spread(rows, labels, self.classes)

    def mean(self, weights: Mapping[str, float], rows: Ints, head: LinearHead) -> Floats:
        """The weighted mean of the teachers' probabilities for all points, float32 [L + U, K]."""
        total = sum(weights.values())
        parts = [weight / total * self.probabilities(name, rows, head) for name, weight in weights.items()]
        return np.asarray(sum(parts), np.float32)

    def typicality(self, rows: Ints) -> Floats:
        """How close each unlabeled image is to the labeled ``rows``, float32 [U]; see ``Typicality``.

        Of more than 5,000 rows, evenly spaced ones are compared with.
        """
        points, step = self._standardized, -(-len(rows) // MOST_COMPARED)
        return Typicality.among(points[rows[::step]])(points[len(self.labels) :])

    @cached_property
    def _points(self) -> npt.NDArray[np.float16]:
        return self.features.points

    @cached_property
    def _standardized(self) -> Floats:
        scaler = self.features.scaler
        return (self._points.astype(np.float32) - scaler.mean) / scaler.deviation

    @cached_property
    def _graph(self) -> NeighborGraph:
        return neighbor_graph(reduce_features(self._standardized))

    @cached_property
    def _whitened_graph(self) -> NeighborGraph:
        return neighbor_graph(reduce_features(self._standardized, whiten=True))


@dataclass(frozen=True, eq=False)
class OtherTeachers:
    """Teachers on a backbone that only labels.

    Attributes:
        backbone: Its name, which tells their names from those on other backbones.
        teachers: The teachers.
        penalty: The weight decay of their head.
    """

    backbone: str
    teachers: FeatureTeachers
    penalty: float

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, such as ``graph on resnet18``."""
        return tuple(f"{name} on {self.backbone}" for name in self.teachers.names)

    def probabilities(self, name: str, rows: Ints) -> Floats:
        """A teacher's class probabilities for all points, float32 [L + U, K], when it may know the labels of rows."""
        own = name.removesuffix(f" on {self.backbone}")
        return self.teachers.probabilities(own, rows, self._head(tuple(rows.tolist())))

    @cached_property
    def _head(self) -> Callable[[tuple[int, ...]], LinearHead]:
        """Fits the head to labeled rows; each fit is kept, because several teachers and rounds ask for it."""
        return cache(lambda rows: self.teachers.fit(np.array(rows, np.int64), self.penalty))


def weights_by_accuracy(top1: Mapping[str, float]) -> dict[str, float]:
    """Weights of the teachers in their mean, which sum to 1, from their cross-fitted accuracies (0 to 1)."""
    best = max(top1.values())
    powers = {name: float(np.exp(PREFERENCE * (value - best))) for name, value in top1.items()}
    return {name: power / sum(powers.values()) for name, power in powers.items()}
