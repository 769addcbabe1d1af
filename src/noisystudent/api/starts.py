"""What the argument ``start`` stands for: weights for models to begin with, or a model to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from noisystudent.config import given_values, read_settings
from noisystudent.errors import SettingsError
from noisystudent.settings import Settings
from noisystudent.settings_input import SettingsInput, as_list

if TYPE_CHECKING:
    from noisystudent.api.requests import ModelLike

_CHAIN = "simclrv2"


def take_start(
    command: Literal["train", "run", "plan", "distill"],
    start: ModelLike | None,
    config: str | Path | None,
    settings: SettingsInput | None,
) -> tuple[list[Mapping[str, Any] | Settings], ModelLike | None]:
    """The settings with what ``start`` says, and ``start`` where it is a model to go on from, which train alone does.

    An encoder, and any weights with the recipe ``bit``, are a backbone; an encoder takes the place of the pretraining
    with which the recipe ``simclrv2`` begins.

    Raises:
        SettingsError: ``start`` is neither, and the command is not train; or the settings name another backbone.
    """
    given = as_list(settings)
    if start is None:
        return given, None
    from noisystudent.models.checkpoint import is_encoder  # loads torch
    from noisystudent.training.settings import TRANSFER_RECIPE

    values = {**(read_settings(Path(config)) if config else {}), **given_values(settings)}
    recipe = values.get("recipe")
    has_no_classes = isinstance(start, str | Path) and is_encoder(Path(start))
    if not has_no_classes and recipe != TRANSFER_RECIPE:
        if command == "train":
            return given, start
        raise SettingsError(
            f"{command} takes as start an encoder that pretrain made or, with recipe {TRANSFER_RECIPE}, weights to "
            f"transfer; {start} is neither. To begin with the weights of a model and a new last layer give --backbone "
            "(model.backbone); only train goes on from a model as it is."
        )
    if not isinstance(start, str | Path):
        raise SettingsError(
            f"recipe {TRANSFER_RECIPE} takes the weights to transfer by name; give the folder of the checkpoint or run "
            "as start."
        )
    backbone = str(start)
    if (named := str(values.get("model.backbone", backbone))) != backbone:
        raise SettingsError(
            f"start {start} and model.backbone {named} both name the weights to begin with; leave one of the two out."
        )
    chosen = {"model.backbone": backbone}
    if recipe == _CHAIN and "pretraining.method" not in values:
        chosen["pretraining.method"] = "none"
    return [*given, chosen], None
