"""What neighbor graphs of the images of a run take: timed on few images, for a second or two."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache

import numpy as np

from noisystudent.pipeline.features.teachers import MOST_POINTS
from noisystudent.pseudo_labels.neighbors import neighbor_graph, reduce_features

FEW_POINTS = 4000  # whose graphs take a second or two


@dataclass(frozen=True)
class GraphTimes:
    """How the seconds of neighbor graphs grow with the square of their points."""

    fixed: float
    per_pair: float

    def seconds(self, points: int) -> float:
        """Seconds of the graphs of this many images."""
        return self.fixed + self.per_pair * points**2


def seconds_of_graphs(points: int, width: int, whitened: tuple[bool, ...]) -> float:
    """Seconds of the graphs of so many images; 0 where they are few, or too many for a graph.

    Args:
        points: The number of labeled and unlabeled images.
        width: The number of their features.
        whitened: For each graph, whether its principal components have the same variance.
    """
    return time_graphs(width, whitened).seconds(points) if FEW_POINTS < points <= MOST_POINTS else 0.0


@cache
def time_graphs(width: int, whitened: tuple[bool, ...]) -> GraphTimes:
    """Times the graphs of few and of more random features of ``width``, once in a process."""
    few, many = 1000, FEW_POINTS
    seconds_few, seconds_many = (_seconds_on(count, width, whitened) for count in (few, many))
    per_pair = max(0.0, seconds_many - seconds_few) / (many**2 - few**2)
    return GraphTimes(max(0.0, seconds_few - few**2 * per_pair), per_pair)


def _seconds_on(points: int, width: int, whitened: tuple[bool, ...]) -> float:
    features = np.random.default_rng(0).normal(size=(points, width)).astype(np.float32)
    started = time.perf_counter()
    for whiten in whitened:
        neighbor_graph(reduce_features(features, whiten=whiten))
    return time.perf_counter() - started
