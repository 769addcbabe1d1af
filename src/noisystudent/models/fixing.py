"""What of a network the resolution fix trains: its last layer, and what its last batch normalization knows.

Touvron et al. 2019 (section 4) put the whole network into evaluation mode, but for the batch normalization before the
pooling: its statistics, taken anew at the test size, undo the change of the activations, and the last layer adapts to
what is left. ``start_training`` reads which modules are in training mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.modules.batchnorm import _BatchNorm

from noisystudent.errors import ModelError
from noisystudent.models.classifier import Classifier
from noisystudent.models.tuning import train_last_blocks

Norm = Literal["statistics", "affine", "none"]


def train_classifier_alone(classifier: Classifier, norm: Norm) -> None:
    """Freezes a network but for its last layer, and all modes but that of its last batch normalization.

    The statistics of the latter start anew and become the mean over all batches of the training: the layers before it
    do not change, so every batch counts alike (the released code keeps a running mean of about the last ten).

    Args:
        classifier: the classifier, changed in place.
        norm: what of the last batch normalization before the pooling adapts: its ``statistics``, these and its
            ``affine`` weights, or ``none``.

    Raises:
        ModelError: the network has no last layer with a name, or no batch normalization where ``norm`` needs it.
    """
    classifier.requires_grad_(False)
    for layer in last_layers(classifier):
        layer.requires_grad_(True)
    classifier.trained_modules = ()
    if norm == "none":
        return
    found = last_norms(classifier)
    if not found:
        raise ModelError(
            f"fix.norm {norm} adapts the last batch normalization, and {classifier.name} has none. Give fix.norm none, "
            "which trains the last layer alone."
        )
    for name in found:
        layer = classifier.get_submodule(name)
        assert isinstance(layer, _BatchNorm)
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches
        layer.requires_grad_(norm == "affine")
    classifier.trained_modules = tuple(found)


def train_blocks(classifier: Classifier, count: int) -> None:
    """Freezes a network but for its last blocks and its last layer; frozen modules are in evaluation mode.

    Noise and batch normalization of the last blocks act as in any training (Xie et al. 2020, released code:
    ``fix_layer_num``).

    Args:
        classifier: the classifier, changed in place.
        count: the number of blocks, at least 1.

    Raises:
        ModelError: the network has no more blocks than that, or does not say what they are.
    """
    last_layers(classifier)
    train_last_blocks(classifier.net, count, setting="fix.trains", instead="classifier")
    classifier.trained_modules = tuple(_not_frozen("net", classifier.net))


def last_layers(classifier: Classifier) -> list[nn.Module]:
    """The layers that end a network, mostly one; raises ``ModelError`` where the network does not name them."""
    get = getattr(classifier.net, "get_classifier", None)
    found = get() if get else None
    named = found if isinstance(found, tuple) else (found,)
    layers = [layer for layer in named if isinstance(layer, nn.Module) and any(True for _ in layer.parameters())]
    if len(layers) < len(named):
        raise ModelError(
            f"the fix trains the last layer, and {classifier.name} does not say which one that is (timm's method "
            "get_classifier), or has none. Give a model that ends with one."
        )
    return layers


def last_norms(classifier: Classifier) -> list[str]:
    """The names of the batch normalizations of unpooled features [B, C, H, W] that no other one follows.

    That is mostly one; a last block whose shortcut has a batch normalization of its own gives two.
    """
    names = {module: name for name, module in classifier.named_modules() if isinstance(module, _BatchNorm)}
    nodes: dict[Node, str] = {}  # where each of them is in the graph of the computation

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, _BatchNorm)
        if inputs[0].ndim == 4 and module.track_running_stats and output.grad_fn is not None:
            nodes[output.grad_fn] = names[module]

    modes = [(module, module.training) for module in classifier.modules()]
    handles = [module.register_forward_hook(note) for module in names]
    try:
        shape = (1, classifier.channels, classifier.size, classifier.size)
        with torch.enable_grad():
            pixels = torch.zeros(shape, device=classifier.device, requires_grad=True)
            classifier.eval()(pixels)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    followed = _reachable([source for node in nodes for source, _ in node.next_functions])
    return [name for node, name in nodes.items() if node not in followed]


def _reachable(nodes: Sequence[Node | None]) -> set[Node]:
    """The nodes of a graph of gradients that the results of ``nodes`` depend on, and these themselves."""
    found: set[Node] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [source for source, _ in node.next_functions]
    return found


def _not_frozen(name: str, module: nn.Module) -> Iterator[str]:
    """The names of a module and of those inside it, without those whose parameters are all frozen."""
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        return
    yield name
    for child, inner in module.named_children():
        yield from _not_frozen(f"{name}.{child}", inner)
