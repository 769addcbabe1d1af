"""What lies beyond an image's edges, and blurs along its axes that know it."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_FEW = 8  # a blur by matrices costs a multiple of the image's edge, one by sums of the number of weights

Edge = Literal["nearest", "reflect", "mirror"]
"""How an image goes on, in SciPy's words: its last value (aaa|abc), reflected (cba|abc), mirrored (dcb|abc)."""


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
    return _extended_along(_extended_along(values, width, edge, axis=-2), width, edge, axis=-1)


def _extended_along(values: Tensor, width: int, edge: Edge, *, axis: int) -> Tensor:
    """``values`` with ``width`` more on each side of an axis."""
    length = values.shape[axis]
    places = torch.from_numpy(beyond(np.r_[-width:0, length : length + width], length, edge)).to(values.device)
    before, after = values.index_select(axis, places).tensor_split(2, axis)
    return torch.cat((before, values, after), axis)


def gaussian_blurred(values: Tensor, sigma: float, *, truncate: float, edge: Edge) -> Tensor:
    """``values``, float32 ``[B, C, S, S]``, blurred along both axes as by SciPy's ``gaussian_filter``.

    The kernel ends ``truncate`` standard deviations from its middle, rounded to whole pixels.
    """
    weights = _gaussian_weights(sigma, truncate)
    length = values.shape[-1]
    if len(weights) == 1:
        return values
    if len(weights) <= length // _FEW:
        return _summed(_summed(values, weights, edge, axis=2), weights, edge, axis=3)
    matrix = _matrix(length, weights, edge).to(values.device)
    planes = values.flatten(0, 1)
    # One product a plane, all of the same shape: then no plane's last bits hang on how many there are.
    rows = torch.bmm(matrix.expand(len(planes), -1, -1), planes)
    return torch.bmm(rows, matrix.T.expand(len(planes), -1, -1)).view_as(values)


def _gaussian_weights(sigma: float, truncate: float) -> tuple[float, ...]:
    """The kernel from end to end, of sum 1."""
    radius = int(truncate * sigma + 0.5)
    weights = [math.exp(-0.5 * (step / sigma) ** 2) if step else 1.0 for step in range(-radius, radius + 1)]
    return tuple(weight / sum(weights) for weight in weights)


def _summed(values: Tensor, weights: tuple[float, ...], edge: Edge, *, axis: int) -> Tensor:
    """``values`` blurred along an axis as a sum of shifted views: for few weights the fastest."""
    length, radius = values.shape[axis], len(weights) // 2
    whole = _extended_along(values, radius, edge, axis=axis)
    total = whole.narrow(axis, radius, length) * weights[radius]
    for step in range(radius):
        total.add_(whole.narrow(axis, step, length), alpha=weights[step])
        total.add_(whole.narrow(axis, 2 * radius - step, length), alpha=weights[step])
    return total


@lru_cache(maxsize=16)
def _matrix(length: int, weights: tuple[float, ...], edge: Edge) -> Tensor:
    """The blur along an axis as a matrix, float32 ``[length, length]``."""
    matrix, targets = np.zeros((length, length)), np.arange(length)
    for step, weight in enumerate(weights, start=-(len(weights) // 2)):
        matrix[targets, beyond(targets + step, length, edge)] += weight
    return torch.from_numpy(matrix.astype(np.float32))
