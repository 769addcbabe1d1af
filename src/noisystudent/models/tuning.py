"""What of a network is trained, how fast each block is, and whose batch statistics normalize."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.models import group_parameters
from timm.optim._param_groups import param_groups_layer_decay
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from noisystudent.errors import ModelError
from noisystudent.models.classifier import Classifier
from noisystudent.models.parallel import SyncBatchNorm

Matcher = Callable[..., object]


def block_numbers(net: nn.Module, *, needed_by: str, instead: str) -> dict[str, int]:
    """The number of the block of every parameter by name, from 0 at the input to the last layer's, which is largest.

    A block is what timm's ``group_matcher`` of the network calls one; layers after the last block belong to it.

    Args:
        net: The network.
        needed_by: The setting that needs the blocks, for the message.
        instead: The setting that does without, for the message.

    Raises:
        ModelError: The network does not say what its blocks are.
    """
    matcher: Matcher | None = getattr(net, "group_matcher", None)
    if matcher is None:
        raise ModelError(
            f"{needed_by} needs a network that says what its blocks are (timm's method group_matcher), and "
            f"{type(net).__name__} does not; give {instead}, or another model."
        )
    numbers: dict[str, int] = group_parameters(net, matcher(coarse=False), reverse=True)
    return numbers


def train_last_blocks(net: nn.Module, count: int, *, setting: str = "model.tune", instead: str = "all") -> None:
    """Freezes a network but for its last ``count`` blocks (at least 1) and its last layer.

    Frozen batch normalization keeps its statistics: see ``start_training``.

    Args:
        net: The network, changed in place.
        count: The number of blocks.
        setting: The setting that names it, for the message.
        instead: The value of the setting that does without blocks, for the message.

    Raises:
        ModelError: The network has no more blocks than that, or does not say what they are.
    """
    given, other = f"{setting} last:{count}", f"{setting} {instead}"
    numbers = block_numbers(net, needed_by=given, instead=other)
    blocks = max(numbers.values())  # beside the last layer
    if count >= blocks:
        raise ModelError(f"{given} would train the whole network, which has {blocks} blocks; give fewer, or {other}.")
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(numbers[name] >= blocks - count)


def start_training(classifier: Classifier, *, frozen_statistics: bool) -> None:
    """Sets a classifier to training mode, in which batch normalization may keep its running statistics.

    Args:
        classifier: The classifier; noise inside the network acts from now on.
        frozen_statistics: Whether all batch normalization uses its running statistics instead of the batch's, and does
            not update them; where its own weights are frozen, it always does.

    Where the classifier names its ``trained_modules``, these alone are in training mode, all others in evaluation mode.
    """
    if classifier.trained_modules is not None:
        classifier.eval()
        for name in classifier.trained_modules:
            classifier.get_submodule(name).training = True
        return
    classifier.train()
    for module in classifier.modules():
        if isinstance(module, _BatchNorm | SyncBatchNorm) and (frozen_statistics or _is_frozen(module)):
            module.eval()


def set_batch_norm_momentum(net: nn.Module, momentum: float) -> None:
    """Sets the share of a batch's statistics in the running ones of all batch normalization of a network.

    Args:
        net: The network, changed in place; its weights and statistics stay.
        momentum: The share, above 0 and at most 1; 1 less what TensorFlow calls momentum.

    Raises:
        ModelError: The network has no batch normalization.
    """
    layers = [module for module in net.modules() if isinstance(module, _BatchNorm | SyncBatchNorm)]
    if not layers:
        raise ModelError(
            f"model.batch_norm_momentum is {momentum:g}, and {type(net).__name__} has no batch normalization. Leave it "
            "out, or choose a model with batch normalization, such as a ResNet or EfficientNet."
        )
    for layer in layers:
        layer.momentum = momentum


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def layer_decay_groups(classifier: Classifier, *, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Groups of parameters for an optimizer, whose learning rates fall by a factor per block from the last layer down.

    The item ``lr_scale`` of a group is that factor to the power of its distance from the last layer (Clark et al. 2020,
    ELECTRA); timm builds the groups. Biases and normalization have no weight decay.

    Args:
        classifier: The classifier; what does not require gradients is in no group.
        weight_decay: Of all other parameters, at least 0.
        layer_decay: The factor, above 0 and at most 1.

    Raises:
        ModelError: The network does not say what its blocks are.
    """
    block_numbers(classifier.net, needed_by=f"train.layer_decay {layer_decay:g}", instead="train.layer_decay 1")
    groups: list[dict[str, Any]] = param_groups_layer_decay(
        classifier.net, weight_decay=weight_decay, layer_decay=layer_decay
    )
    return groups
