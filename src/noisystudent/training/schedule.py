"""The learning rate as a pure function of the step, so that nothing has to be saved for it."""

from __future__ import annotations

import math

from noisystudent.training.settings import TrainSettings

STAIRS = 146  # 350 epochs / 2.4, the paper's number of decays by 0.97 (Xie et al. 2020, section 4.1)


def learning_rate(step: int, settings: TrainSettings) -> float:
    """The learning rate of 0-based ``step``: linear warm-up, then a half cosine to 0 or the paper's staircase."""
    warmup = round(settings.warmup * settings.steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, settings.steps - warmup)
    if settings.schedule == "staircase":
        return settings.learning_rate * 0.97 ** math.floor(progress * STAIRS)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
