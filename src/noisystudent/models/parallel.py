"""One model trained by several processes: gradients are averaged, batch statistics are those of the whole batch."""

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
    """The model as a module whose backward pass averages gradients over the processes; alone, the model itself.

    Its batch normalizations are replaced in place by synchronized ones with the same tensors under the same names.
    """
    if group.world_size == 1:
        return model
    _synchronize(model, group)
    return DistributedDataParallel(model)


def wrap_fsdp(classifier: Classifier, ema: Ema, engine: Engine) -> nn.Module:
    """The classifier, changed in place, as a module of which every process keeps a share only.

    Parameters, their gradients, what an optimizer that is made afterwards keeps of them, and their averages in ``ema``
    are split by rows; a piece of the network at a time is made whole where it computes (torch's ``fully_shard``).
    Gradients and batch normalization are those of ``wrap_ddp``. Images keep their layout, weights do not:
    they are split with the channels first.
    """
    mesh = init_device_mesh(engine.device.type, (engine.group.world_size,))
    _synchronize(classifier, engine.group)
    classifier.net.to(memory_format=torch.contiguous_format)
    for piece in fsdp_units(classifier.net):
        fully_shard(piece, mesh=mesh)
    fully_shard(classifier, mesh=mesh)
    ema.split(mesh, classifier)
    return classifier


def fsdp_units(net: nn.Module) -> list[nn.Module]:
    """Disjoint parts of a network, such as its residual blocks, with no more than an eighth of the parameters each.

    Larger ones are those whose own parts hold less than half of them. Single layers belong to no piece.
    """
    return _pieces_of(net, count_parameters(net) // 8)


def _pieces_of(module: nn.Module, most: int) -> list[nn.Module]:
    found: list[nn.Module] = []
    for child in module.children():
        if not any(count_parameters(each) for each in child.children()):
            continue
        size = count_parameters(child)
        # The forward of a container need not be called.
        called = not isinstance(child, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        parts = [] if called and size <= most else _pieces_of(child, most)
        found += [child] if called and 2 * sum(map(count_parameters, parts)) < size else parts
    return found


class SyncBatchNorm(nn.Module):
    """Batch normalization over the images of all processes, each of which must have as many as the others.

    torch's own works on accelerators only. Takes the parameters, buffers and settings of a ``BatchNorm``, and what
    timm puts behind it in one module (an activation). Inputs are [B, C, ...].
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
        """The normalized input; in training mode by the statistics of all processes' images."""
        if self.training:
            normalized = self._normalized(x, *self._statistics(x.float()))
        else:
            normalized = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        activated: Tensor = self.act(self.drop(normalized))
        return activated

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance per channel over all processes; the running ones move towards them."""
        axes = [axis for axis in range(x.ndim) if axis != 1]
        mean = self._over_all(x.mean(axes))
        variance = self._over_all((x - _along_channels(mean, x)).square().mean(axes))
        self._remember(mean.detach(), variance.detach(), self.group.world_size * x.numel() // x.shape[1])
        return mean, variance

    def _over_all(self, values: Tensor) -> Tensor:
        return total(values) / self.group.world_size

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
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


class _Total(torch.autograd.Function):
    """The sum over the processes. Each one's loss depends on every one's values, so gradients are summed too."""

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


def total(values: Tensor) -> Tensor:
    """The sum of a tensor that all processes have, through which gradients flow back to all of them."""
    summed: Tensor = _Total.apply(values)
    return summed


def _along_channels(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (x.ndim - 2))


def _synchronize(module: nn.Module, group: ProcessGroup) -> None:
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, SyncBatchNorm(child, group))
        else:
            _synchronize(child, group)
