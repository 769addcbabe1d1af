"""Tensors that are sharded by rows over several processes: sharded, gathered again, and accessed locally."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

State = Any  # nested dictionaries and lists of tensors and plain values, as state_dict() returns them


def shard(tensor: Tensor, mesh: DeviceMesh) -> DTensor:
    """Shards a tensor that all processes hold: every process keeps consecutive rows of axis 0, on its device."""
    return distribute_tensor(tensor, mesh, [Shard(0)], src_data_rank=None)


def local_shard(tensor: Tensor) -> Tensor:
    """Returns the shard of this process, in the same memory; a tensor that is not sharded is returned unchanged."""
    with torch.no_grad():
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full_tensor(tensor: Tensor) -> Tensor:
    """Returns the tensor with the shards of all processes; all processes must call it at once."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather_state(state: State, *, keep: bool) -> State:
    """Returns ``state`` with full tensors on the CPU in place of sharded ones, gathered one at a time.

    All processes must call it at once.

    Args:
        state: nested dictionaries and lists of tensors and plain values.
        keep: whether this process needs the result; without it, sharded tensors become None.
    """
    if isinstance(state, DTensor):
        tensor = full_tensor(state)
        return tensor.cpu() if keep else None
    if isinstance(state, Mapping):
        return {name: gather_state(value, keep=keep) for name, value in state.items()}
    if isinstance(state, list):
        return [gather_state(value, keep=keep) for value in state]
    return state


def shard_like(values: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns full tensors ``values``, sharded wherever the tensor of the same name in ``like`` is sharded."""
    meshes = {name: tensor.device_mesh for name, tensor in like.items() if isinstance(tensor, DTensor)}
    return {name: shard(value, meshes[name]) if name in meshes else value for name, value in values.items()}
