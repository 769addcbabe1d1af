"""Training of one model by several processes: averaged gradients, batch statistics of the whole batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from noisystudent.models.classifier import Classifier
from noisystudent.models.create import count_parameters
from noisystudent.models.ema import Ema
from noisystudent.runtime.device import Engine
from noisystudent.runtime.process_group import ProcessGroup


def wrap_ddp(model: nn.Module, group: ProcessGroup) -> nn.Module:
    """Wraps a model so that its backward pass averages gradients over the processes (DistributedDataParallel).

    In a group of one process, the model is returned unchanged. Otherwise its batch normalization layers are replaced
    in place by synchronized ones with the same tensors under the same names.
    """
    if group.world_size == 1:
        return model
    _synchronize(model, group)
    return DistributedDataParallel(model)


def wrap_fsdp(classifier: Classifier, ema: Ema, engine: Engine) -> nn.Module:
    """Shards a classifier, in place, over the processes (FSDP2, torch's ``fully_shard``).

    Parameters, their gradients, the state of an optimizer that is created afterwards, and the averages in ``ema`` are
    split by rows. Units of the network are gathered one at a time while they compute. Gradients and batch normalization
    are those of ``wrap_ddp``. Weights are stored with the channels first; images keep their layout.

    Args:
        classifier: the classifier to train.
        ema: its moving average.
        engine: the device and the group of processes.
    """
    mesh = init_device_mesh(engine.device.type, (engine.group.world_size,))
    _synchronize(classifier, engine.group)
    classifier.net.to(memory_format=torch.contiguous_format)
    for unit in fsdp_units(classifier.net):
        fully_shard(unit, mesh=mesh)
    fully_shard(classifier, mesh=mesh)
    ema.shard(mesh, classifier)
    return classifier


def fsdp_units(net: nn.Module) -> list[nn.Module]:
    """Returns disjoint modules of a network, such as its residual blocks, that are gathered one at a time.

    A unit holds at most an eighth of the network's parameters, unless smaller units inside it would hold less than half
    of its parameters. Single layers are no units.
    """
    return _units_within(net, count_parameters(net) // 8)


def _units_within(module: nn.Module, max_size: int) -> list[nn.Module]:
    units: list[nn.Module] = []
    for child in module.children():
        if not any(count_parameters(grandchild) for grandchild in child.children()):
            continue
        size = count_parameters(child)
        # The network may use the items of a container without calling its forward method.
        has_forward = not isinstance(child, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        inner = [] if has_forward and size <= max_size else _units_within(child, max_size)
        units += [child] if has_forward and 2 * sum(map(count_parameters, inner)) < size else inner
    return units


class SyncBatchNorm(nn.Module):
    """Batch normalization over the images of all processes, which must hold equal numbers of images.

    torch's ``SyncBatchNorm`` works on accelerators only. This one takes over the parameters, buffers and settings of a
    ``BatchNorm``, and the activation that timm's fused modules apply after it. Inputs are [B, C, ...].
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(self, norm: _BatchNorm, group: ProcessGroup) -> None:
        super().__init__()
        self.eps, self.momentum = norm.eps, norm.momentum
        self.group = group
        self.weight, self.bias = norm.weight, norm.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))
        self.drop, self.act = (getattr(norm, name, None) or nn.Identity() for name in ("drop", "act"))
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the normalized input; training mode uses the statistics of the images of all processes."""
        if self.training:
            normalized = self._normalized(x, *self._statistics(x.float()))
        else:
            normalized = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        activated: Tensor = self.act(self.drop(normalized))
        return activated

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance per channel over all processes; updates the running statistics."""
        axes = [axis for axis in range(x.ndim) if axis != 1]
        mean = self._mean_over_processes(x.mean(axes))
        variance = self._mean_over_processes((x - _along_channels(mean, x)).square().mean(axes))
        self._update_running(mean.detach(), variance.detach(), self.group.world_size * x.numel() // x.shape[1])
        return mean, variance

    def _mean_over_processes(self, values: Tensor) -> Tensor:
        return sum_over_processes(values) / self.group.world_size

    def _update_running(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        momentum = self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            momentum = 1.0 / float(self.num_batches_tracked) if momentum is None else momentum
        assert momentum is not None
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), momentum)

    def _normalized(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        scale = torch.rsqrt(variance + self.eps)
        shift = -mean * scale
        if self.weight is not None:
            scale, shift = scale * self.weight, shift * self.weight + self.bias
        return torch.addcmul(_along_channels(shift, x), x.float(), _along_channels(scale, x)).to(x.dtype)


class _SumOverProcesses(torch.autograd.Function):
    """The sum over the processes; the loss of every process depends on all values, so gradients are summed too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ANN401  (torch's signature)
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401  (torch's signature)
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        return summed


def sum_over_processes(values: Tensor) -> Tensor:
    """Returns the sum of a tensor over the processes; gradients flow back to all of them."""
    summed: Tensor = _SumOverProcesses.apply(values)
    return summed


def gathered(rows: Tensor, group: ProcessGroup) -> Tensor:
    """The rows of all processes, [P * B, ...], rank by rank, through which gradients flow back to their own process.

    Every process computes the loss of all rows, so its backward pass sums the gradients of all; the mean over the
    processes, which the loop takes, is then the gradient of that one loss.
    """
    if group.world_size == 1:
        return rows
    own = [rows if rank == group.rank else torch.zeros_like(rows) for rank in range(group.world_size)]
    return sum_over_processes(torch.cat(own))


def _along_channels(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.ndim - 2))


def _synchronize(module: nn.Module, group: ProcessGroup) -> None:
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, SyncBatchNorm(child, group))
        else:
            _synchronize(child, group)
