"""Weights that are no numbers: a model that holds them answers without any meaning, and is refused with the reason."""

from __future__ import annotations

from torch import nn

from noisystudent.errors import ModelError


def broken_tensors(net: nn.Module) -> list[str]:
    """Names of the parameters that are not finite, and of the buffers that hold NaN (a mask may hold infinities)."""
    parameters = [name for name, tensor in net.named_parameters() if not tensor.isfinite().all()]
    buffers = [name for name, tensor in net.named_buffers() if tensor.is_floating_point() and tensor.isnan().any()]
    return parameters + buffers


def require_finite_weights(net: nn.Module, where: str) -> None:
    """Raises ``ModelError`` if some weights of a network are no numbers.

    Args:
        net: The network.
        where: Where the weights are from, for the message.
    """
    broken = broken_tensors(net)
    if broken:
        count = len(list(net.parameters())) + len(list(net.buffers()))
        raise ModelError(
            f"{where} holds a broken model: {len(broken)} of its {count} tensors have numbers that are not finite (NaN "
            f"or infinite), first {broken[0]}. Its training diverged, or the file is damaged: train it again with a "
            "lower train.learning_rate, or copy the file again from its source."
        )
