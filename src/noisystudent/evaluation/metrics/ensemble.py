"""Ensembles: the averaged predictions of several classifiers, log-probabilities [N, K] each, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

Floats = npt.NDArray[np.floating]


def mean_log_probabilities(
    members: Sequence[Floats], weights: Sequence[float] = (), mean: Literal["arithmetic", "geometric"] = "arithmetic"
) -> npt.NDArray[np.float32]:
    """The log-probabilities of an ensemble: the weighted mean of the members' predictions, normalized.

    Args:
        members: the log-probabilities of each member [N, K].
        weights: the weight of each member, at least 0 and not all 0; empty: equal weights.
        mean: arithmetic: the mean of the probabilities; geometric: the mean of the log-probabilities, normalized again.

    Returns:
        Log-probabilities, float32 [N, K].
    """
    normalized_weights = np.array(weights or (1.0,) * len(members), np.float64)
    normalized_weights /= normalized_weights.sum()
    stacked = np.stack([np.asarray(member, np.float64) for member in members])
    if mean == "arithmetic":
        averaged: npt.NDArray[np.float32] = logsumexp(stacked, axis=0, b=normalized_weights[:, None, None]).astype(
            np.float32
        )
        return averaged
    mean_logits = np.tensordot(normalized_weights, stacked, axes=1)
    normalizer = logsumexp(mean_logits, axis=1, keepdims=True)
    normalized: npt.NDArray[np.float32] = (mean_logits - normalizer).astype(np.float32)
    return normalized
