"""The noise on the images of a training stage, and the size at which its model sees them."""

from __future__ import annotations

from noisystudent.models.settings import ModelPlan
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings
from noisystudent.pipeline.context import RunContext


def input_size(context: RunContext, plan: ModelPlan) -> int:
    """The input edge of a model in pixels: its family's, or the data's."""
    return plan.size or context.splits.format.size


def input_noise(context: RunContext, stage: str, plan: ModelPlan, strength: float) -> InputNoise:
    """The noise on the images of a stage."""
    return noise_at(context, stage, input_size(context, plan), strength)


def noise_at(
    context: RunContext, stage: str, size: int, strength: float, settings: NoiseSettings | None = None
) -> InputNoise:
    """The noise on the images of a stage for an input edge of ``size`` pixels.

    ``settings``: others than the run's; the name of the stage seeds the random numbers.
    """
    return InputNoise(
        settings or context.settings.noise,
        size=size,
        strength=strength,
        rng=CounterRng(context.settings.seed, f"input-noise/{stage}"),
        storage_size=context.splits.format.storage_size,
        crop=context.splits.format.crop,
    )


def unlabeled_noise_at(context: RunContext, stage: str, size: int, strength: float) -> InputNoise:
    """The noise on the unlabeled images of a stage, where they have one of their own (``noise.unlabeled``)."""
    noise = context.settings.noise
    own = strength if noise.unlabeled.strength == "same" else noise.unlabeled.strength
    return noise_at(context, stage, size, own, noise.of_unlabeled())
