"""BiT's rule (Kolesnikov et al. 2020, section 3.3): the number of labels says how long a transfer trains."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from noisystudent.condition import has_trained_weights
from noisystudent.config import value_at
from noisystudent.errors import SettingsError
from noisystudent.pipeline.backbones.tune import with_values
from noisystudent.run_settings import RunSettings
from noisystudent.runtime.progress import Reporter
from noisystudent.training.settings import TRANSFER_RECIPE


@dataclass(frozen=True)
class TransferLength:
    """How a data set of fewer than ``below`` labels is trained on; ``warmup`` and ``drops`` are fractions of steps."""

    below: float
    steps: int
    warmup: float
    drops: tuple[float, ...]
    mixup: float


LENGTHS = (
    TransferLength(20_000, 500, 0.2, (0.4, 0.6, 0.8), 0.0),
    TransferLength(500_000, 10_000, 0.05, (0.3, 0.6, 0.9), 0.1),
    TransferLength(float("inf"), 20_000, 0.025, (0.3, 0.6, 0.9), 0.1),
)
"""The released code's small, medium and large data sets."""


def require_upstream(settings: RunSettings) -> None:
    """Raises ``SettingsError`` for a transfer without weights to transfer."""
    if settings.train.rule == "bit" and not has_trained_weights(
        {name: value_at(settings, name) for name in ("model.backbone", "pretraining.method")}
    ):
        named = f"recipe {TRANSFER_RECIPE}" if settings.recipe == TRANSFER_RECIPE else "train.rule bit"
        raise SettingsError(
            f"{named} transfers weights that were trained before, and model.backbone is none. Give one (--backbone: "
            "timm:NAME, the folder of a checkpoint or run, or a package), or another recipe."
        )


def with_transfer_length(settings: RunSettings, explicit: Collection[str], labels: int) -> RunSettings:
    """The settings with steps, warm-up, drops and mixup as the rule has them for ``labels``, where they are open."""
    if settings.train.rule != "bit":
        return settings
    length = next(length for length in LENGTHS if labels < length.below)
    values: dict[str, object] = {
        "train.steps": length.steps,
        "train.warmup": length.warmup,
        "train.drops": length.drops,
        "noise.mixup": length.mixup,
    }
    if settings.train.epochs:
        del values["train.steps"]
    return with_values(settings, {name: value for name, value in values.items() if name not in explicit})


def say_transfer_length(settings: RunSettings, labels: int, reporter: Reporter) -> None:
    """Says what the rule decided."""
    if settings.train.rule == "bit":
        mixup = f", mixup {settings.noise.mixup:g}" if settings.noise.mixup else ""
        reporter.say(
            f"transfer: {labels:,} labels, so {settings.train.steps:,} steps of {settings.train.batch_size} images"
            f"{mixup} (train.rule bit)"
        )


def decided_by_rule(asked: RunSettings, used: RunSettings, explicit: Collection[str], labels: int) -> Mapping[str, str]:
    """Where the values came from that the rule decided, by dotted name."""
    if used.train.rule != "bit":
        return {}
    return {
        name: f"train.rule bit: {labels:,} labels"
        for name in ("train.steps", "train.warmup", "train.drops", "noise.mixup")
        if name not in explicit and value_at(asked, name) != value_at(used, name)
    }
