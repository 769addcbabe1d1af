"""LARS, the optimizer for large batches: every layer has a step in proportion to the size of its weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from noisystudent.models.create import head_modules

TRUST = 0.001  # of the released code of SimCLR


class Lars(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017) as in the released code of SimCLR.

    With gradient g and weight decay d: g <- g + d w; v <- m v + rate (TRUST |w| / |g|) g; w <- w - v. The factor in
    brackets is 1 where |w| or |g| is 0, for biases and normalization (one axis), and in groups with ``adapts`` False.
    timm's ``lars`` instead divides by |g| + d |w|, and its momentum leaves the rate out.

    Args:
        groups: groups of parameters with their own ``weight_decay``, and perhaps ``adapts``.
        lr: the learning rate.
        momentum: m, from 0 to below 1.
    """

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, momentum: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0, "adapts": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # never a loss
        """Moves all parameters that have a gradient."""
        assert closure is None
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        if group["weight_decay"]:
            gradient = gradient.add(weight, alpha=group["weight_decay"])
        if group["adapts"] and weight.ndim > 1:
            gradient = gradient * _trust(weight, gradient)
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        velocity: Tensor = state["momentum_buffer"]
        velocity.mul_(group["momentum"]).add_(gradient, alpha=group["lr"])
        weight.sub_(velocity)


def _trust(weight: Tensor, gradient: Tensor) -> Tensor:
    """The factor of a layer's step, a scalar tensor: no value leaves the device."""
    of_weight, of_gradient = weight.norm(), gradient.norm()
    ratio = TRUST * of_weight / of_gradient.clamp_min(torch.finfo(of_gradient.dtype).tiny)
    return torch.where((of_weight > 0) & (of_gradient > 0), ratio, torch.ones_like(ratio))


def lars_groups(net: nn.Module, groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups of parameters for ``Lars``, in which the last layer of a timm network neither adapts nor decays.

    A last layer that starts near 0 would hardly move by steps in proportion to its size; the released code of SimCLR
    leaves it out as well.

    Args:
        net: the network; one that is not timm's has no such layer.
        groups: its parameters, with their ``weight_decay``.
    """
    names = head_modules(net) if hasattr(net, "pretrained_cfg") else ()
    last = {id(parameter) for name in names for parameter in net.get_submodule(name).parameters()}
    split = []
    for group in groups:
        parts = (
            [parameter for parameter in group["params"] if (id(parameter) in last) == is_last] for is_last in (0, 1)
        )
        body, head = parts
        split += [{**group, "params": body}] if body else []
        split += [{**group, "params": head, "weight_decay": 0.0, "adapts": False}] if head else []
    return split
