"""Which images to label next: those that the model is unsure of, spread apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

CANDIDATES_PER_IMAGE = 10  # unsure images that one is chosen from


def closeness(log_probabilities: Floats) -> Floats:
    """How close a call each answer is: 1 minus the margin between the two most probable classes, float32 [N]."""
    top = np.sort(np.exp(log_probabilities), axis=1)[:, -2:]
    return np.asarray(1 - (top[:, 1] - top[:, 0]), np.float32)


def choose_to_label(log_probabilities: Floats, points: Floats, count: int) -> Ints:
    """At most ``count`` rows, the most useful first.

    Of the closest calls (Scheffer et al. 2001, "Active Hidden Markov Models"), each next one has the largest product of
    its closeness and its distance to the ones chosen before, so that near-duplicates are not labeled twice (farthest
    first, Gonzalez 1985).

    Args:
        log_probabilities: The model's answers, [N, K].
        points: Features of the images, [N, F].
        count: How many.
    """
    close = closeness(log_probabilities)
    candidates = np.argsort(-close, kind="stable")[: CANDIDATES_PER_IMAGE * count]
    if not len(candidates):
        return candidates
    unit = points[candidates] / np.maximum(np.linalg.norm(points[candidates], axis=1, keepdims=True), 1e-12)
    weights, chosen = close[candidates], [0]
    distances = 1 - unit @ unit[0]
    while len(chosen) < min(count, len(candidates)):
        gain = weights * distances
        gain[chosen] = -1
        following = int(gain.argmax())
        chosen.append(following)
        distances = np.minimum(distances, 1 - unit @ unit[following])
    return candidates[chosen]
