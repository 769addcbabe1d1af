"""Model noise: dropout before the classifier and stochastic depth in the blocks of any timm model.

timm's families build stochastic depth only at creation (``timm.create_model(..., drop_path_rate=...)`` above 0), and
every family has its own rule. This module sets the rates of existing modules by the paper's rule. It refuses a model
that has no such modules, because silently missing noise would ruin the method.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from timm.layers.drop import DropPath
from torch import nn

from noisystudent.errors import ModelError

_DROP_PATH_NAME = re.compile(r"(^|_)drop_path\d*$")


@dataclass(frozen=True, slots=True)
class ModelNoise:
    """The noise of a model in training mode.

    ``dropout`` is the drop rate before the classifier. ``stochastic_depth`` holds the drop rate of every block with
    stochastic depth, from input to output; 0 for a block that is never dropped.
    """

    dropout: float
    stochastic_depth: tuple[float, ...]


def set_model_noise(model: nn.Module, *, dropout: float, stochastic_depth: float) -> ModelNoise:
    """Sets the rates of dropout before the classifier and of stochastic depth.

    Block i of n drops its residual branch with rate ``stochastic_depth * i / n``, independently for every image, and
    scales it by 1 / (1 - rate) otherwise (Huang et al., 2016, as in the official code). The first block never drops.
    Blocks that timm builds without a drop path stay without one: the first block, and in families such as ConvNeXt the
    whole first stage. The noise does not act in evaluation mode.

    Args:
        model: the model, changed in place.
        dropout: dropout rate before the classifier, 0 to below 1.
        stochastic_depth: drop rate that the blocks approach linearly, 0 to below 1.

    Returns:
        The noise that the model now has.

    Raises:
        ModelError: a rate is above 0 and the model has no module for it.
    """
    _set_stochastic_depth(model, stochastic_depth)
    _set_dropout(model, dropout)
    return model_noise(model)


def model_noise(model: nn.Module) -> ModelNoise:
    """Returns the current dropout and stochastic depth of ``model``."""
    head = head_dropouts(model)
    if head:
        dropout = max(module.p for module in head)
    else:
        dropout = float(getattr(model, "drop_rate", 0.0)) if reads_drop_rate(model) else 0.0
    rates = [max((float(path.drop_prob or 0.0) for path in paths), default=0.0) for paths in blocks_of(model)]
    return ModelNoise(dropout=dropout, stochastic_depth=tuple(rates))


def _set_stochastic_depth(model: nn.Module, rate: float) -> None:
    blocks = blocks_of(model)
    if rate > 0.0 and not any(blocks[1:]):
        raise ModelError(
            f"Model {_name(model)!r} has no stochastic depth, but noise.stochastic_depth is {rate}: its "
            "family has none, or it was created without drop_path_rate. Switch it off with "
            "--noise.stochastic_depth 0, or choose a model with stochastic depth, such as a ResNet or EfficientNet."
        )
    for number, paths in enumerate(blocks):
        for path in paths:
            path.drop_prob = rate * number / len(blocks)


def _set_dropout(model: nn.Module, rate: float) -> None:
    head = head_dropouts(model)
    for module in head:
        module.p = rate
    if not head and reads_drop_rate(model):
        model.drop_rate = rate  # type: ignore[assignment]
    elif not head and rate > 0.0:
        raise ModelError(
            f"Model {_name(model)!r} has no dropout before its classifier, but noise.dropout is {rate}. "
            "Switch it off with --noise.dropout 0, or choose a model with dropout, such as a ResNet or EfficientNet."
        )


def blocks_of(model: nn.Module) -> list[list[DropPath]]:
    """The stochastic-depth modules of every block, from input to output; an empty list for a block without any.

    A block is a module that owns a ``DropPath`` or an empty slot for one, ``drop_path1 = nn.Identity()`` or
    ``drop_path = None``. Its modules share one rate. Empty slots count, so that the linear rule covers every block, but
    they stay empty: some families leave them empty in blocks without a shortcut, and dropping such a branch would drop
    the whole image.
    """
    blocks = []
    for module in model.modules():
        paths = [child for child in module.children() if isinstance(child, DropPath)]
        values = {**vars(module), **module._modules}
        if paths or any(_is_empty(value) for name, value in values.items() if _DROP_PATH_NAME.search(name)):
            blocks.append(paths)
    return blocks


def _is_empty(value: object) -> bool:
    return value is None or isinstance(value, nn.Identity)


def head_dropouts(model: nn.Module) -> list[nn.Dropout]:
    """The dropout modules before the classifier, which timm names head_drop, head.drop, head_dist.drop ..."""
    return [
        module for name, module in model.named_modules() if isinstance(module, nn.Dropout) and name.startswith("head")
    ]


def reads_drop_rate(model: nn.Module) -> bool:
    """Whether the model reads ``self.drop_rate`` in every forward pass, so that setting it has an effect."""
    functions = (getattr(type(model), name, None) for name in ("forward_head", "forward"))
    return hasattr(model, "drop_rate") and any(
        "drop_rate" in function.__code__.co_names for function in functions if function is not None
    )


def _name(model: nn.Module) -> str:
    """The timm name of the model's architecture, or the name of its class."""
    config = getattr(model, "pretrained_cfg", None) or {}
    return str(config.get("architecture") or type(model).__name__)
