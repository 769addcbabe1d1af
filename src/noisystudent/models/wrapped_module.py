"""A user's own module as a model: what it must be able to do, its normalization and its fingerprint."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from noisystudent.artifacts.callables import without_addresses
from noisystudent.artifacts.folder import fingerprint_of
from noisystudent.errors import ModelError
from noisystudent.models.load import weights_fingerprint


class NormalizedModule(nn.Module):
    """A module that takes normalized pixels, as one that takes floats from 0 to 1."""

    mean: Tensor
    std: Tensor

    def __init__(self, module: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None])
        self.training = module.training

    def forward(self, pixels: Tensor) -> Tensor:
        """The module's answers to pixels [B, C, size, size] from 0 to 1."""
        answers: Tensor = self.module(self.normalize(pixels))
        return answers

    def normalize(self, pixels: Tensor) -> Tensor:
        """``(pixels - mean) / std`` per channel, wherever the pixels are."""
        return (pixels - self.mean.to(pixels.device)) / self.std.to(pixels.device)


def normalized(
    module: nn.Module, name: str, channels: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> nn.Module:
    """The module for pixels from 0 to 1: itself, or with the normalization that it expects.

    Raises ``ModelError`` for a mean without a standard deviation, and for values that do not fit the channels.
    """
    if mean is None and std is None:
        return module
    if mean is None or std is None:
        given, missing = ("std", "mean") if mean is None else ("mean", "std")
        raise ModelError(f"{name} has {given} without {missing}; give both, one value per channel, or neither.")
    if len(mean) != channels or len(std) != channels or not all(value > 0 for value in std):
        raise ModelError(
            f"{name} has mean {list(mean)} and std {list(std)} for {channels} channels; give one value per channel for "
            "pixels from 0 to 1, each std above 0."
        )
    return NormalizedModule(module, mean, std)


def class_names(classes: Sequence[str]) -> tuple[str, ...]:
    """The names of the classes as text; raises ``ModelError`` for one text instead of a list."""
    if isinstance(classes, str):
        raise ModelError(f"classes is the text {classes!r}; give a list of names, in the order of the logits.")
    return tuple(map(str, classes))


def device_of(module: nn.Module) -> torch.device:
    """The device of a module's first parameter or buffer; the CPU if it has none."""
    tensor = next((tensor for tensors in (module.parameters(), module.buffers()) for tensor in tensors), None)
    return torch.device("cpu") if tensor is None else tensor.device


def check_module(
    module: nn.Module, name: str, classes: tuple[str, ...], shape: tuple[int, int, int, int], device: torch.device
) -> None:
    """Tries a module with gray images of ``shape`` (batch, channels, height, width).

    Raises ``ModelError`` unless it gives one logit per class, and when a class has no name or two have the same.
    """
    if not classes:
        raise ModelError(f"{name} has no classes; give the name of each output, in the order of the logits.")
    if len(set(classes)) < len(classes):
        twice = next(label for label in classes if classes.count(label) > 1)
        raise ModelError(f"{name} has the class {twice!r} more than once; give every output its own name.")
    if shape[1] not in (1, 3):
        raise ModelError(f"{name} takes {shape[1]} channels, and images have 1 or 3; give channels=1 or 3.")
    if device.type == "meta":
        raise ModelError(f"{name} is on the device 'meta' and holds no numbers; load its weights onto a real device.")
    try:
        with torch.no_grad():
            logits = module(torch.full(shape, 0.5, device=device))
    except Exception as error:  # a user's module may fail in any way
        raise ModelError(
            f"{name} was tried with images of shape {shape} (batch, channels, height, width) on {device} and failed "
            f"({type(error).__name__}: {error}). Give the size and channels that it takes, and keep all of it on one "
            "device."
        ) from error
    require_logits(logits, name, (shape[0], len(classes)))
    if not logits.isfinite().all():
        raise ModelError(f"{name} answers gray images with numbers that are not finite. Check its weights.")
    if (logits > 0).all() and torch.allclose(logits.sum(dim=1).float(), torch.ones(shape[0], device=logits.device)):
        raise ModelError(
            f"{name} gives probabilities (its answers are above 0 and sum to 1), and calibration and attacks are "
            "of logits. Leave its softmax out, or take the logarithm of what it gives."
        )


def require_eval_mode(model: Callable[[Tensor], Tensor]) -> None:
    """Raises ``ModelError`` for a module, or a method of one, that is or holds a module in training mode."""
    owner = getattr(model, "__self__", model)
    if isinstance(owner, nn.Module) and any(module.training for module in owner.modules()):
        raise ModelError(
            f"The model {type(owner).__name__} is in training mode, in which its answers depend on chance or on the "
            "batch. Call eval() on it first."
        )


def require_logits(logits: object, name: str, shape: tuple[int, int]) -> None:
    """Raises ``ModelError`` unless a model answered with a tensor of ``shape`` (images, classes)."""
    if not isinstance(logits, Tensor) or tuple(logits.shape) != shape:
        answer = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ModelError(
            f"{name} answers {shape[0]} images with {answer}, and {shape[1]} classes are named; it must give logits "
            f"{shape}, in the order of the classes."
        )


def gives_features(net: nn.Module) -> bool:
    """Whether a network gives its features as timm's networks do."""
    head = getattr(net, "forward_head", None)
    return head is not None and hasattr(net, "forward_features") and "pre_logits" in inspect.signature(head).parameters


def require_features(net: nn.Module, name: str) -> None:
    """Raises ``ModelError`` unless a network gives its features as timm's networks do."""
    if not gives_features(net):
        raise ModelError(
            f"{name} gives no features: a {type(net).__name__} lacks forward_features(x) or "
            "forward_head(x, pre_logits=True), which timm's networks have. Give it these methods."
        )


def width_of_features(net: nn.Module) -> int:
    """The number of features that a network of timm's kind gives; 0 where it does not say."""
    return int(getattr(net, "head_hidden_size", getattr(net, "num_features", 0)))


def features_of(net: nn.Module, pixels: Tensor, name: str) -> Tensor:
    """Features [B, F] before the last layer, of the network's normalized pixels [B, C, size, size]."""
    features: Tensor = net.forward_head(net.forward_features(pixels), pre_logits=True)  # type: ignore[operator]
    if not isinstance(features, Tensor) or features.ndim != 2:
        answer = f"shape {tuple(features.shape)}" if isinstance(features, Tensor) else f"a {type(features).__name__}"
        raise ModelError(f"{name} gives features of {answer}; one row per image, [B, F], is needed.")
    return features


def module_fingerprint(name: str, module: nn.Module) -> str:
    """A hash of a module's name, type, text form, parameters and buffers."""
    text = without_addresses(repr(module))
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    return fingerprint_of([name, kind, text, weights_fingerprint(tensors)])
