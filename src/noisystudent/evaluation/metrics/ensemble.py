"""Several classifiers as one: log-probabilities [N, K] each, in NumPy."""

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
    """Logarithm of the weighted mean of the members' probabilities, normalized: float32 [N, K].

    ``weights`` are equal when empty, else one a member, at least 0 and not all 0. The arithmetic mean is of the
    probabilities, the geometric one of their logarithms.
    """
    shares = np.array(weights or (1.0,) * len(members), np.float64)
    shares /= shares.sum()
    stacked = np.stack([np.asarray(each, np.float64) for each in members])
    if mean == "arithmetic":
        merged: npt.NDArray[np.float32] = logsumexp(stacked, axis=0, b=shares[:, None, None]).astype(np.float32)
        return merged
    joint = np.tensordot(shares, stacked, axes=1)
    normalized: npt.NDArray[np.float32] = (joint - logsumexp(joint, axis=1, keepdims=True)).astype(np.float32)
    return normalized
