"""What the pretraining of a run cannot be combined with."""

from __future__ import annotations

from noisystudent.errors import SettingsError
from noisystudent.models.create import size_argument
from noisystudent.models.settings import NO_BACKBONE
from noisystudent.pipeline.backbones.tune import HEAD
from noisystudent.pipeline.extensions import Extensions
from noisystudent.run_settings import RunSettings


def pretrains(settings: RunSettings) -> bool:
    """Whether a run pretrains what its models start from."""
    return settings.pretraining.method != "none"


def check_kept_layers(settings: RunSettings, model: str, size: int) -> None:
    """Raises ``SettingsError`` for layers that cannot stay on an encoder, whose images then have one size."""
    if settings.pretraining.kept_layers and size_argument(model, size):
        raise SettingsError(
            f"pretraining.kept_layers is {settings.pretraining.kept_layers}, and {model} takes images of one size "
            "alone, on which no layers of the projection head can stay. Give 0, or a model of any size (a ResNet)."
        )


def check_pretraining(settings: RunSettings, extensions: Extensions) -> None:
    """Raises ``SettingsError`` for what pretraining cannot be combined with; a recipe may name the method."""
    if not pretrains(settings):
        return
    method, model = settings.pretraining.method, settings.model
    if model.backbone != NO_BACKBONE:
        given = "model.pretrained true" if model.pretrained else f"model.backbone {model.backbone}"
        raise SettingsError(
            f"pretraining.method {method} makes the weights that models start from, and {given} names others; give "
            "pretraining.method none to start from those, or leave them out."
        )
    if model.tune == HEAD:
        raise SettingsError(
            f"pretraining.method {method} trains a network in the run, and model.tune head computes features before; "
            "make the encoder with pretrain, and then run with --backbone and --tune head."
        )
    if extensions.model:
        raise SettingsError(
            f"pretraining.method {method} pretrains a model that is named, and your own model has no name; give "
            "model.teacher, or leave pretraining.method out."
        )
