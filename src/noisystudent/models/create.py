"""Creates models by name (timm's and the families for small images) and loads published weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import timm
import torch
from huggingface_hub import constants, get_session, try_to_load_from_cache
from timm.models import PretrainedCfg, get_pretrained_cfg, is_model_pretrained
from torch import nn
from torch.func import functional_call

import noisystudent.models.architectures.efficientnet_small
import noisystudent.models.architectures.projected
import noisystudent.models.architectures.small
import noisystudent.models.architectures.tiny  # noqa: F401  (all four register their models with timm)
from noisystudent.errors import ModelError, nearest_name
from noisystudent.models.normalization import Normalization
from noisystudent.noise.model import set_model_noise

HEAD_STD = 0.01  # of a last layer that is drawn anew
PATIENCE = 5.0  # seconds to wait for any response of the hub
WEIGHTS = "model.safetensors"
REGISTERING_MODULE = __name__  # after its import, timm knows the models for small images


def published_config(name: str, *, advice: str) -> PretrainedCfg:
    """Returns timm's configuration of the weights that it publishes for ``name``.

    Raises:
        ModelError: there are no such weights; the message ends with ``advice``.
    """
    config = get_pretrained_cfg(name)
    if config is None or not is_model_pretrained(name):
        raise ModelError(f"There are no published weights for model {name!r}. {advice}")
    return config


def load_published(net: nn.Module, name: str, arguments: Mapping[str, Any], *, advice: str) -> None:
    """Loads the weights that timm publishes for ``name`` into ``net``.

    Args:
        net: the network.
        name: name of the model in timm, with or without a tag of its weights.
        arguments: constructor arguments with which ``net`` was built.
        advice: last sentence of the error message.

    Raises:
        ModelError: there are no such weights, or they are not in the hub's local cache and cannot be downloaded.
    """
    config = published_config(name, advice=advice)
    hub_name = config.hf_hub_id
    # Only safetensors files are read from the cache directly; timm itself loads files of other names.
    cached = try_to_load_from_cache(hub_name, WEIGHTS) if hub_name and not config.hf_hub_filename else None
    try:
        if isinstance(cached, str):
            published = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": cached}, **arguments)
        else:
            if hub_name:
                _require_hub()
            published = timm.create_model(name, pretrained=True, **arguments)
    except Exception as error:  # errors of timm, the hub's client and their transports have no common base class
        raise ModelError(
            f"The published weights of model {name!r} could not be downloaded ({type(error).__name__}: {error}). "
            f"They are downloaded once and then cached; check the network. {advice}"
        ) from error
    net.load_state_dict(published.state_dict())


def _require_hub() -> None:
    """Checks that the hub responds: its client tries every file six times, which takes most of a minute offline."""
    get_session().head(constants.ENDPOINT, timeout=PATIENCE)


def create_model(
    name: str,
    *,
    classes: int,
    channels: int,
    size: int,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    further: Mapping[str, Any] = MappingProxyType({}),
) -> nn.Module:
    """Creates a network from float32 [B, channels, size, size] to logits [B, classes].

    Args:
        name: name of the model in timm.
        classes: number of classes.
        channels: channels of the images, 1 or 3.
        size: edge of the square images in pixels; it changes models with a fixed input size only, such as ViTs.
        dropout: dropout rate before the last layer, 0 to below 1; 0 overrides the model's default too.
        stochastic_depth: drop rate that the residual blocks approach by the linear rule, 0 to below 1; the first block
            drops nothing, and 0 overrides the model's default too.
        further: further arguments of timm's constructor.

    Raises:
        ModelError: the name is unknown, or the model does not accept such images or has no such noise.
    """
    require_known(name)
    arguments = {**further, "num_classes": classes, "in_chans": channels} | size_argument(name, size)
    noise = {"drop_rate": dropout, "drop_path_rate": stochastic_depth}
    net = build(name, arguments, noise)
    # timm builds the noise modules, each family by its own rule; this sets their rates.
    set_model_noise(net, dropout=dropout, stochastic_depth=stochastic_depth)
    _require_accepts(net, name, torch.Size((1, channels, size, size)))
    shrink_head(net)
    return net


def shrink_head(net: nn.Module) -> None:
    """Draws the last layer anew if timm drew it too large, so that the first answers are nearly even.

    timm's EfficientNets draw it with a standard deviation that depends on the number of classes alone: 0.24 for 6
    classes, with which 1,280 features give a first loss of 12 instead of ln 6. Usual is at most one over the root of
    the number of features.
    """
    get_classifier: Callable[[], nn.Module] | None = getattr(net, "get_classifier", None)  # every timm model has it
    head = get_classifier() if get_classifier else None
    if isinstance(head, nn.Linear) and float(head.weight.detach().std()) > head.in_features**-0.5:
        nn.init.normal_(head.weight, std=HEAD_STD)
        if head.bias is not None:
            nn.init.zeros_(head.bias)


def head_modules(net: nn.Module) -> tuple[str, ...]:
    """Returns the names of a timm network's last layers, mostly one; a distilled transformer has two."""
    published: dict[str, Any] = net.pretrained_cfg  # type: ignore[assignment]  # timm sets it
    names = published.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def draw_head(net: nn.Module) -> None:
    """Draws the last layer of a timm network anew from torch's random generator: nearly even first answers."""
    for name in head_modules(net):
        head = net.get_submodule(name)
        for parameter, tensor in head.named_parameters():
            if parameter == "bias":
                nn.init.zeros_(tensor)
            else:
                nn.init.normal_(tensor, std=HEAD_STD)


def zero_head(net: nn.Module) -> None:
    """Sets the last layer of a timm network to zeros, weight and bias: the first loss is the log of the classes."""
    for name in head_modules(net):
        for tensor in net.get_submodule(name).parameters():
            nn.init.zeros_(tensor)


def count_parameters(model: nn.Module) -> int:
    """Returns the number of a model's parameters, trainable or not; buffers (running statistics) do not count."""
    return sum(parameter.numel() for parameter in model.parameters())


def normalization_of(net: nn.Module, channels: int) -> Normalization:
    """Returns the normalization with which a timm network's published weights were trained."""
    published: dict[str, Any] = net.pretrained_cfg  # type: ignore[assignment]  # timm sets it
    return Normalization.published(published["mean"], published["std"], channels)


def crop_of(net: nn.Module) -> float:
    """Returns the share of an image's short edge that a timm network's published weights were evaluated with."""
    published: dict[str, Any] = net.pretrained_cfg  # type: ignore[assignment]  # timm sets it
    return float(published["crop_pct"])


def require_known(name: str) -> None:
    """Raises ``ModelError`` unless timm, including the families for small images, has ``name``."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise ModelError(
            f"Model {name!r} is not known.{nearest_name(architecture, timm.list_models())} "
            "Give any name of timm.list_models(), or for small images tiny_resnet, resnet_small_20, "
            "resnet_small_18, wrn_28_2 or efficientnet_small_b0."
        )
    tagged = timm.list_models(f"{architecture}.*", pretrained=True)
    if tag and name not in tagged:
        raise ModelError(
            f"Model {architecture!r} has no published weights {tag!r}.{nearest_name(name, tagged)} "
            f"Known: {', '.join(tagged) or 'none'}; or leave out '.{tag}'."
        )


def is_registered_here(name: str) -> bool:
    """Whether timm has a model only because this package registers it."""
    return timm.model_entrypoint(name.partition(".")[0]).__module__.startswith("noisystudent.")


def size_argument(name: str, size: int) -> dict[str, Any]:
    """Returns ``{"img_size": size}`` for models whose input size is fixed at creation, else an empty dict."""
    published = get_pretrained_cfg(name)
    return {"img_size": size} if published is not None and published.fixed_input_size else {}


def build(name: str, arguments: Mapping[str, Any], noise: Mapping[str, float]) -> nn.Module:
    """Builds an untrained timm network.

    Args:
        name: name of the model in timm.
        arguments: constructor arguments, which the model must accept.
        noise: timm's drop rates; those that the model does not accept are left out.

    Raises:
        ModelError: the model does not accept an argument or its value.
    """
    accepted: dict[str, Any] = dict(noise)
    while True:
        try:
            net: nn.Module = timm.create_model(name, pretrained=False, **arguments, **accepted)
            return net
        except (TypeError, ValueError, RuntimeError, AssertionError, ZeroDivisionError) as error:
            unknown = next((argument for argument in accepted if f"'{argument}'" in str(error)), None)
            if unknown is None or not isinstance(error, TypeError):
                raise ModelError(
                    f"Model {name!r} cannot be built with {dict(arguments)}: "
                    f"{error or type(error).__name__}. Choose another model, or another image size."
                ) from error
            del accepted[unknown]


def refusal(net: nn.Module, shape: torch.Size) -> str:
    """Why a network does not take images of a shape; empty where it does.

    The network is tried on the meta device, without computing; one that reads values there cannot be judged and counts
    as taking them. Its modules keep their modes.

    Args:
        net: the network.
        shape: of a batch, (images, channels, height, width).
    """
    meta_tensors = {key: tensor.to("meta") for key, tensor in (*net.named_parameters(), *net.named_buffers())}
    modes = [(module, module.training) for module in net.modules()]
    try:
        functional_call(net.eval(), meta_tensors, torch.empty(shape, device="meta"))
    except (RuntimeError, ValueError, AssertionError, IndexError, ZeroDivisionError) as error:
        if isinstance(error, NotImplementedError) or "meta" in str(error):
            return ""
        return (str(error).splitlines() or [type(error).__name__])[0]
    finally:
        for module, training in modes:
            module.training = training
    return ""


def _require_accepts(net: nn.Module, name: str, shape: torch.Size) -> None:
    """Checks that a network accepts images of ``shape``; many need more."""
    if reason := refusal(net, shape):
        raise ModelError(
            f"Model {name!r} cannot take images of shape {tuple(shape[1:])} (channels, height, width): "
            f"{reason}. Choose a model for such images (--model.teacher auto does), or "
            "another size."
        )
