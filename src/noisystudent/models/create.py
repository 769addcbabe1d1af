"""Creates models by name: timm's, and the families for small images; loads published weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
import torch
from huggingface_hub import constants, get_session, try_to_load_from_cache
from timm.models import PretrainedCfg, get_pretrained_cfg, is_model_pretrained
from torch import nn
from torch.func import functional_call

import noisystudent.models.architectures.efficientnet_small
import noisystudent.models.architectures.small
import noisystudent.models.architectures.tiny  # noqa: F401  (all three register their models with timm)
from noisystudent.errors import ModelError, nearest_name
from noisystudent.models.normalization import Normalization
from noisystudent.noise.model import set_model_noise

PATIENCE = 5.0  # seconds that the hub may take to answer at all
WEIGHTS = "model.safetensors"


def published_config(name: str, *, advice: str) -> PretrainedCfg:
    """What timm says of the weights that it publishes for ``name``.

    Raises ``ModelError``, which ends with ``advice``, when there are none.
    """
    config = get_pretrained_cfg(name)
    if config is None or not is_model_pretrained(name):
        raise ModelError(f"There are no published weights for model {name!r}. {advice}")
    return config


def load_published(net: nn.Module, name: str, arguments: Mapping[str, Any], *, advice: str) -> None:
    """Loads into ``net`` the weights that timm publishes for ``name``; ``arguments`` are those it was built with.

    Raises ``ModelError``, which ends with ``advice``, when there are none, or when they are neither in the hub's local
    cache nor to be had.
    """
    config = published_config(name, advice=advice)
    hub_name = config.hf_hub_id
    # Only safetensors are taken straight from the cache; models with a file of another name go timm's own way.
    cached = try_to_load_from_cache(hub_name, WEIGHTS) if hub_name and not config.hf_hub_filename else None
    try:
        if isinstance(cached, str):
            published = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": cached}, **arguments)
        else:
            if hub_name:
                _require_answer()
            published = timm.create_model(name, pretrained=True, **arguments)
    except Exception as error:  # timm, the hub's client and their transports share no base class
        raise ModelError(
            f"The published weights of model {name!r} could not be had ({type(error).__name__}: {error}). "
            f"They are downloaded once and then kept; is there a network? {advice}"
        ) from error
    net.load_state_dict(published.state_dict())


def _require_answer() -> None:
    """Asks the hub for any answer: its client would try each file six times, which takes most of a minute offline."""
    get_session().head(constants.ENDPOINT, timeout=PATIENCE)


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

    Raises ``ModelError`` when the name is unknown, when the model cannot take such images, when it has no
    place for the noise that is asked for, and when its pretrained weights cannot be had.
    """
    require_known(name)
    arguments = {"num_classes": classes, "in_chans": channels} | size_argument(name, size)
    noise = {"drop_rate": dropout, "drop_path_rate": stochastic_depth}
    net = build(name, arguments, noise)
    # timm only makes room for the noise, each family by its own rule; this sets the rates, or says why not.
    set_model_noise(net, dropout=dropout, stochastic_depth=stochastic_depth)
    _require_room(net, name, torch.Size((1, channels, size, size)))
    if pretrained:
        advice = f"Give --model.pretrained false to train {name} from scratch, or choose another model."
        load_published(net, name, arguments, advice=advice)
    return net


def count_parameters(model: nn.Module) -> int:
    """Number of a model's parameters, trainable or not; buffers (running statistics) are not counted."""
    return sum(parameter.numel() for parameter in model.parameters())


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
            "Any name that timm.list_models() has will do, and for small images tiny_resnet, "
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
    """An untrained timm network; ``noise`` (timm's drop rates) is left out where the model has no such
    argument.

    Raises ``ModelError`` when the model lacks another argument, or cannot be built with the values given.
    """
    wanted: dict[str, Any] = dict(noise)
    while True:
        try:
            net: nn.Module = timm.create_model(name, pretrained=False, **arguments, **wanted)
            return net
        except (TypeError, ValueError, RuntimeError, AssertionError, ZeroDivisionError) as error:
            lacking = next((argument for argument in wanted if f"'{argument}'" in str(error)), None)
            if lacking is None or not isinstance(error, TypeError):
                raise ModelError(
                    f"Model {name!r} cannot be built with {dict(arguments)}: "
                    f"{error or type(error).__name__}. Choose another model, or another image size."
                ) from error
            del wanted[lacking]


def _require_room(net: nn.Module, name: str, shape: torch.Size) -> None:
    """Sends an image without data through the network without its numbers: many models cannot take small ones."""
    shadow = {key: tensor.to("meta") for key, tensor in (*net.named_parameters(), *net.named_buffers())}
    try:
        functional_call(net.eval(), shadow, torch.empty(shape, device="meta"))
    except (RuntimeError, ValueError, AssertionError, IndexError, ZeroDivisionError) as error:
        if isinstance(error, NotImplementedError) or "meta" in str(error):
            return  # it asks for numbers, which says nothing about the shape
        raise ModelError(
            f"Model {name!r} cannot take images of shape {tuple(shape[1:])} (channels, height, width): "
            f"{error or type(error).__name__}. Choose a model for such images (--model.teacher auto does), or "
            "another size."
        ) from error
    finally:
        net.train()
