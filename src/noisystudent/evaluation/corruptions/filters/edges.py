"""Padding of images at their edges, and separable Gaussian blur with such edges."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# The cost of a blur grows with the image's edge as a matrix product, with the number of weights as a sum of shifts.
_EDGE_PER_WEIGHT = 8

Edge = Literal["nearest", "reflect", "mirror"]
"""How an image continues beyond an edge, as in SciPy: nearest (aaa|abcd), reflect (cba|abcd), mirror (dcb|abcd)."""


def source_positions(positions: npt.NDArray[np.int64], length: int, edge: Edge) -> npt.NDArray[np.int64]:
    """Maps positions on an axis, inside or outside of 0 to ``length`` - 1, to the positions that they repeat."""
    match edge:
        case "nearest":
            return positions.clip(0, length - 1)
        case "reflect":
            folded = positions % (2 * length)
            return np.minimum(folded, 2 * length - 1 - folded)
        case "mirror":
            folded = positions % max(1, 2 * (length - 1))
            return np.minimum(folded, 2 * (length - 1) - folded)


def pad_edges(values: Tensor, width: int, edge: Edge) -> Tensor:
    """Pads ``values`` ``[..., S, S]`` by ``width`` rows and columns on each side."""
    return _pad_axis(_pad_axis(values, width, edge, axis=-2), width, edge, axis=-1)


def _pad_axis(values: Tensor, width: int, edge: Edge, *, axis: int) -> Tensor:
    """Pads ``values`` by ``width`` on each side of one axis."""
    length = values.shape[axis]
    outside = np.r_[-width:0, length : length + width]
    positions = torch.from_numpy(source_positions(outside, length, edge)).to(values.device)
    before, after = values.index_select(axis, positions).tensor_split(2, axis)
    return torch.cat((before, values, after), axis)


def gaussian_filter(values: Tensor, sigma: float, *, truncate: float, edge: Edge) -> Tensor:
    """Blurs along both axes as SciPy's ``gaussian_filter`` does.

    Args:
        values: float32 ``[B, C, S, S]``.
        sigma: standard deviation of the kernel, in pixels.
        truncate: half width of the kernel in standard deviations, rounded to whole pixels.
        edge: how images continue beyond their edges.

    Returns:
        The blurred values, float32 ``[B, C, S, S]``.
    """
    weights = _gaussian_weights(sigma, truncate)
    length = values.shape[-1]
    if len(weights) == 1:
        return values
    if len(weights) <= length // _EDGE_PER_WEIGHT:
        return _blur_by_shifts(_blur_by_shifts(values, weights, edge, axis=2), weights, edge, axis=3)
    matrix = _blur_matrix(length, weights, edge).to(values.device)
    planes = values.flatten(0, 1)
    # One product per plane, all of the same shape: the last bits of a plane then do not depend on the number of planes.
    rows = torch.bmm(matrix.expand(len(planes), -1, -1), planes)
    return torch.bmm(rows, matrix.T.expand(len(planes), -1, -1)).view_as(values)


def _gaussian_weights(sigma: float, truncate: float) -> tuple[float, ...]:
    """The kernel's weights, of sum 1."""
    radius = int(truncate * sigma + 0.5)
    weights = [math.exp(-0.5 * (step / sigma) ** 2) if step else 1.0 for step in range(-radius, radius + 1)]
    return tuple(weight / sum(weights) for weight in weights)


def _blur_by_shifts(values: Tensor, weights: tuple[float, ...], edge: Edge, *, axis: int) -> Tensor:
    """The blur along one axis as a sum of shifted views: the fastest for few weights."""
    length, radius = values.shape[axis], len(weights) // 2
    padded = _pad_axis(values, radius, edge, axis=axis)
    total = padded.narrow(axis, radius, length) * weights[radius]
    for step in range(radius):
        total.add_(padded.narrow(axis, step, length), alpha=weights[step])
        total.add_(padded.narrow(axis, 2 * radius - step, length), alpha=weights[step])
    return total


@lru_cache(maxsize=16)
def _blur_matrix(length: int, weights: tuple[float, ...], edge: Edge) -> Tensor:
    """The blur along one axis as a matrix, float32 ``[length, length]``."""
    matrix, targets = np.zeros((length, length)), np.arange(length)
    for step, weight in enumerate(weights, start=-(len(weights) // 2)):
        matrix[targets, source_positions(targets + step, length, edge)] += weight
    return torch.from_numpy(matrix.astype(np.float32))
