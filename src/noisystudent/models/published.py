"""Published weights, from the local cache or the hub; without a network the answer comes at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
from huggingface_hub import constants, get_session, try_to_load_from_cache
from timm.models import PretrainedCfg, get_pretrained_cfg, is_model_pretrained
from torch import nn

from noisystudent.errors import ModelError

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
