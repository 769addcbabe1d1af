"""Model noise: dropout before the classifier and stochastic depth in the blocks, set on any timm model.

timm's families build stochastic depth only if asked at creation (``timm.create_model(...,
drop_path_rate=...)`` above 0), each by its own rule. This module sets the paper's rule on what it finds,
and refuses a model that lacks what was asked of it: noise that is silently missing would spoil the method.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from timm.layers.drop import DropPath
from torch import nn

from noisystudent.errors import ModelError

_PLACE = re.compile(r"(^|_)drop_path\d*$")


@dataclass(frozen=True, slots=True)
class ModelNoise:
    """The noise that a model has in training mode.

    ``dropout`` is the drop rate before the classifier. ``stochastic_depth`` has the drop rate of every
    block that has a place for it, from input to output; 0 where nothing is dropped.
    """

    dropout: float
    stochastic_depth: tuple[float, ...]


def set_model_noise(model: nn.Module, *, dropout: float, stochastic_depth: float) -> ModelNoise:
    """Set the rate of dropout before the classifier and of stochastic depth, and return what the model now
    has.

    Block i of n drops its residual branch with rate ``stochastic_depth * i / n``, for each image on its
    own, and scales it by 1 / (1 - rate) otherwise (Huang et al., 2016, as in the official code); the first
    never drops. A block which timm built without the means keeps none: the first, and in families such as
    ConvNeXt, the whole first stage. Nothing acts in eval mode. Raises ModelError when a rate above 0 finds
    nothing in the model to act on.
    """
    _set_stochastic_depth(model, stochastic_depth)
    _set_dropout(model, dropout)
    return model_noise(model)


def model_noise(model: nn.Module) -> ModelNoise:
    """The dropout and stochastic depth that ``model`` now has."""
    head = _head_dropouts(model)
    if head:
        dropout = max(module.p for module in head)
    else:
        dropout = float(getattr(model, "drop_rate", 0.0)) if _reads_drop_rate(model) else 0.0
    rates = [max((float(path.drop_prob or 0.0) for path in paths), default=0.0) for paths in _blocks(model)]
    return ModelNoise(dropout=dropout, stochastic_depth=tuple(rates))


def _set_stochastic_depth(model: nn.Module, rate: float) -> None:
    blocks = _blocks(model)
    if rate > 0.0 and not any(blocks[1:]):
        raise ModelError(
            f"Model {_name(model)!r} has no stochastic depth, but noise.stochastic_depth is {rate}: its "
            "family has none, or it was created without drop_path_rate. Switch it off with "
            "--noise.stochastic_depth 0, or choose a model that has it, such as a ResNet or EfficientNet."
        )
    for number, paths in enumerate(blocks):
        for path in paths:
            path.drop_prob = rate * number / len(blocks)


def _set_dropout(model: nn.Module, rate: float) -> None:
    head = _head_dropouts(model)
    for module in head:
        module.p = rate
    if not head and _reads_drop_rate(model):
        model.drop_rate = rate  # type: ignore[assignment]
    elif not head and rate > 0.0:
        raise ModelError(
            f"Model {_name(model)!r} has no dropout before its classifier, but noise.dropout is {rate}. "
            "Switch it off with --noise.dropout 0, or choose a model that has it, such as a ResNet or "
            "EfficientNet."
        )


def _blocks(model: nn.Module) -> list[list[DropPath]]:
    """The stochastic-depth modules of each block, from input to output; an empty list for an empty place.

    A block is a module that owns a ``DropPath`` or an empty place for one, ``drop_path1 = nn.Identity()`` or
    ``drop_path = None``. Its modules share one rate. Empty places are counted, so that the rule sees every
    block, but not filled: some families leave them empty where there is no shortcut, and a branch dropped
    there would take the whole image with it.
    """
    blocks = []
    for module in model.modules():
        paths = [child for child in module.children() if isinstance(child, DropPath)]
        values = {**vars(module), **module._modules}
        if paths or any(_is_empty(value) for name, value in values.items() if _PLACE.search(name)):
            blocks.append(paths)
    return blocks


def _is_empty(value: object) -> bool:
    return value is None or isinstance(value, nn.Identity)


def _head_dropouts(model: nn.Module) -> list[nn.Dropout]:
    """The dropout modules before the classifier, in timm called head_drop, head.drop, head_dist.drop ..."""
    return [
        module for name, module in model.named_modules() if isinstance(module, nn.Dropout) and name.startswith("head")
    ]


def _reads_drop_rate(model: nn.Module) -> bool:
    """Whether the model looks up ``self.drop_rate`` each time it runs, so that setting it acts."""
    functions = (getattr(type(model), name, None) for name in ("forward_head", "forward"))
    return hasattr(model, "drop_rate") and any(
        "drop_rate" in function.__code__.co_names for function in functions if function is not None
    )


def _name(model: nn.Module) -> str:
    """The timm name of the model's architecture, or its class."""
    config = getattr(model, "pretrained_cfg", None) or {}
    return str(config.get("architecture") or type(model).__name__)
