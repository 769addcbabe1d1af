"""Models by name: timm's, and the families for small pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg, is_model_pretrained
from torch import nn

import noisystudent.models.efficientnet_small
import noisystudent.models.small  # noqa: F401  (both register their models with timm)
from noisystudent.errors import ModelError, nearest_name
from noisystudent.models.normalization import Normalization


def create_model(
    name: str,
    *,
    classes: int,
    channels: int,
    size: int,
    pretrained: bool = False,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
) -> nn.Module:
    """A network from float32 [B, channels, size, size] to logits [B, classes], by its name in timm.

    ``dropout`` is the rate before the last layer, ``stochastic_depth`` the drop rate that the residual blocks
    reach by the linear rule (the first drops nothing); both in 0..1 and both set even when 0, so that no
    model's own default sneaks in. ``size`` matters only to models whose input size is fixed, such as ViTs.

    Raises ``ModelError`` when the name is unknown, when the model cannot take such pictures, when it has no
    place for the noise that is asked for, and when its pretrained weights cannot be had.
    """
    require_known(name)
    arguments = {"num_classes": classes, "in_chans": channels} | size_argument(name, size)
    noise = {"drop_rate": dropout, "drop_path_rate": stochastic_depth}
    net = build(name, arguments, noise)
    _require_noise(net, name, noise)
    if pretrained:
        _load_published(net, name, arguments)
    return net


def count_parameters(model: nn.Module) -> int:
    """Number of a model's parameters, trainable or not; buffers (running statistics) are not counted."""
    return sum(parameter.numel() for parameter in model.parameters())


def planned_parameters(name: str, *, classes: int, channels: int, size: int) -> int:
    """Parameters that the model ``name`` would have, counted without allocating them."""
    with torch.device("meta"):
        return count_parameters(create_model(name, classes=classes, channels=channels, size=size))


def normalization_of(net: nn.Module, channels: int) -> Normalization:
    """The normalization that a timm network's published weights were trained with."""
    published: dict[str, Any] = net.pretrained_cfg  # type: ignore[assignment]  # timm sets it
    return Normalization.published(published["mean"], published["std"], channels)


def require_known(name: str) -> None:
    """Raises ``ModelError`` with the nearest name unless timm, small families included, has ``name``."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise ModelError(
            f"Model {name!r} is not known.{nearest_name(architecture, timm.list_models())} "
            "Any name that timm.list_models() has will do, and for small pictures tiny_resnet, "
            "resnet_small_20, resnet_small_18, wrn_28_2 or efficientnet_small_b0."
        )
    tagged = timm.list_models(f"{architecture}.*", pretrained=True)
    if tag and name not in tagged:
        raise ModelError(
            f"Model {architecture!r} has no published weights {tag!r}.{nearest_name(name, tagged)} "
            f"Known: {', '.join(tagged) or 'none'}; or leave out '.{tag}'."
        )


def size_argument(name: str, size: int) -> dict[str, Any]:
    """``{"img_size": size}`` for the models whose input size is fixed at birth, else nothing."""
    published = get_pretrained_cfg(name)
    return {"img_size": size} if published is not None and published.fixed_input_size else {}


def build(name: str, arguments: Mapping[str, Any], noise: Mapping[str, float]) -> nn.Module:
    """An untrained timm network; noise of rate 0 is left out where the model has no such argument.

    Raises ``ModelError`` when the model lacks an argument, or cannot be built with the values given.
    """
    wanted: dict[str, Any] = dict(noise)
    while True:
        try:
            net: nn.Module = timm.create_model(name, pretrained=False, **arguments, **wanted)
            return net
        except TypeError as error:
            lacking = next((argument for argument in wanted if f"'{argument}'" in str(error)), None)
            if lacking is None:
                raise ModelError(f"Model {name!r} cannot be built with {dict(arguments)}: {error}") from error
            if wanted.pop(lacking) > 0:
                raise _no_place_for(lacking, noise[lacking], name) from error
        except (ValueError, RuntimeError, AssertionError, ZeroDivisionError) as error:
            raise ModelError(
                f"Model {name!r} cannot be built with {dict(arguments)}: {error or type(error).__name__}. "
                "Choose another model, or another picture size (data.size)."
            ) from error


def _require_noise(net: nn.Module, name: str, noise: Mapping[str, float]) -> None:
    """Some models take a rate and do nothing with it; a student without its noise is not the method."""
    dropout = any(
        getattr(module, "drop_rate", 0) or (isinstance(module, nn.Dropout) and module.p)
        for module in net.modules()
    )
    if noise["drop_rate"] > 0 and not dropout:
        raise _no_place_for("drop_rate", noise["drop_rate"], name)
    if noise["drop_path_rate"] > 0 and not any(getattr(module, "drop_prob", 0) for module in net.modules()):
        raise _no_place_for("drop_path_rate", noise["drop_path_rate"], name)


def _no_place_for(argument: str, rate: float, name: str) -> ModelError:
    setting = {"drop_rate": "dropout", "drop_path_rate": "stochastic_depth"}[argument]
    return ModelError(
        f"Model {name!r} has no place for noise.{setting} = {rate}. Set --noise.{setting} 0, or choose a "
        "model that has one, such as resnet_small_20 or efficientnet_b0."
    )


def _load_published(net: nn.Module, name: str, arguments: Mapping[str, Any]) -> None:
    advice = f"Give --model.pretrained false to train {name} from scratch, or choose another model."
    if not is_model_pretrained(name):
        raise ModelError(f"There are no published weights for model {name!r}. {advice}")
    try:
        published = timm.create_model(name, pretrained=True, **arguments)
    except Exception as error:  # timm, the hub's client and their transports share no base class
        raise ModelError(
            f"The published weights of model {name!r} could not be had ({type(error).__name__}: {error}). "
            f"They are downloaded once and then kept; is there a network? {advice}"
        ) from error
    net.load_state_dict(published.state_dict())
