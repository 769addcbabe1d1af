"""What lies beyond a picture's edges, and blurs along its axes that know it."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Edge = Literal["nearest", "reflect", "mirror"]
"""How a picture goes on, in SciPy's words: its last value (aaa|abc), reflected (cba|abc), mirrored (dcb|abc)."""


def beyond(places: npt.NDArray[np.int64], length: int, edge: Edge) -> npt.NDArray[np.int64]:
    """For ``places`` on an axis, also outside of 0 to ``length`` - 1, the ones inside whose values stand there."""
    match edge:
        case "nearest":
            return places.clip(0, length - 1)
        case "reflect":
            folded = places % (2 * length)
            return np.minimum(folded, 2 * length - 1 - folded)
        case "mirror":
            folded = places % max(1, 2 * (length - 1))
            return np.minimum(folded, 2 * (length - 1) - folded)


def extended(values: Tensor, width: int, edge: Edge) -> Tensor:
    """``values`` ``[..., S, S]`` with ``width`` more rows and columns on each side."""
    length = values.shape[-1]
    places = torch.from_numpy(beyond(np.arange(-width, length + width), length, edge)).to(values.device)
    return values.index_select(-2, places).index_select(-1, places)


def gaussian_blurred(values: Tensor, sigma: float, *, truncate: float, edge: Edge) -> Tensor:
    """``values``, float32 ``[B, C, S, S]``, blurred along both axes as by SciPy's ``gaussian_filter``.

    The kernel ends ``truncate`` standard deviations from its middle, rounded to whole pixels.
    """
    matrix = _gaussian_matrix(values.shape[-1], sigma, truncate, edge)
    if matrix is None:
        return values
    matrix = matrix.to(values.device)
    planes = values.flatten(0, 1)
    # One product a plane, all of the same shape: then no plane's last bits hang on how many there are.
    rows = torch.bmm(matrix.expand(len(planes), -1, -1), planes)
    return torch.bmm(rows, matrix.T.expand(len(planes), -1, -1)).view_as(values)


@lru_cache(maxsize=16)
def _gaussian_matrix(length: int, sigma: float, truncate: float, edge: Edge) -> Tensor | None:
    """The blur along an axis as a matrix, float32 ``[length, length]``; None where it changes nothing."""
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return None
    steps = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    matrix = np.zeros((length, length))
    targets = np.arange(length)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        matrix[targets, beyond(targets + step, length, edge)] += weight
    return torch.from_numpy(matrix.astype(np.float32))
