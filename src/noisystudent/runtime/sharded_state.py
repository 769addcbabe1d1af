"""Tensors that several processes hold a share of each: split by rows, put together again, and looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

State = Any  # nested dictionaries and lists of tensors and plain values, as state_dict() gives them


def split(tensor: Tensor, mesh: DeviceMesh) -> DTensor:
    """A tensor that all processes have, of which each keeps some consecutive rows of the first axis, on its device."""
    return distribute_tensor(tensor, mesh, [Shard(0)], src_data_rank=None)


def share(tensor: Tensor) -> Tensor:
    """The share of this process, in the same memory; of a tensor that is not split, all of it."""
    with torch.no_grad():
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The tensor with all shares; all processes must ask at once."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def put_together(state: State, *, keep: bool) -> State:
    """``state`` with split tensors made whole, one after another, and kept on the CPU if at all.

    All processes must call it at once; those with ``keep`` false get None for such a tensor.
    """
    if isinstance(state, DTensor):
        tensor = whole(state)
        return tensor.cpu() if keep else None
    if isinstance(state, Mapping):
        return {name: put_together(value, keep=keep) for name, value in state.items()}
    if isinstance(state, list):
        return [put_together(value, keep=keep) for value in state]
    return state


def split_like(values: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole ``values``, each split where the tensor of that name in ``like`` is."""
    meshes = {name: each.device_mesh for name, each in like.items() if isinstance(each, DTensor)}
    return {name: split(value, meshes[name]) if name in meshes else value for name, value in values.items()}
