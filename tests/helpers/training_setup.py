"""A tiny model, its batches and its objective, for tests of the training loop."""

import numpy as np
import torch

from noisystudent.losses.objectives import supervised
from noisystudent.models.classifier import create_classifier
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings
from noisystudent.runtime.device import seeded
from noisystudent.training.loader import BatchLoader, ImageBuffer, InMemoryStream

CPU = torch.device("cpu")


def make_batches(seed: int = 0) -> BatchLoader:
    """Batches of images in which the bright half is the class, from a labeled and a pseudo-labeled stream."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, 60)
    pixels = random.integers(0, 80, (60, 1, 8, 8))
    pixels[labels == 0, :, :4] += 120
    pixels[labels == 1, :, 4:] += 120
    buffer = ImageBuffer(torch.from_numpy(pixels.astype(np.uint8)), torch.full((60, 2), 8))
    targets = torch.eye(2)[torch.from_numpy(labels)]
    noise = InputNoise(NoiseSettings(randaugment=False), size=8, strength=1.0, rng=CounterRng(seed, "test"))
    streams = (
        InMemoryStream("labeled", buffer, targets, np.arange(20), 8, seed=seed),
        InMemoryStream("pseudo", buffer, targets, np.repeat(np.arange(20, 60), 2), 8, seed=seed),
    )
    return BatchLoader(streams, noise)


def make_classifier(*, dropout: float = 0.2, stochastic_depth: float = 0.2):
    with seeded(1, CPU):
        return create_classifier(
            "tiny_resnet",
            classes=("top", "bottom"),
            channels=1,
            size=8,
            dropout=dropout,
            stochastic_depth=stochastic_depth,
        )


def objective(logits, batch):
    return supervised(logits, batch.targets)


def same_weights(first, second) -> bool:
    return all(
        torch.equal(left, right)
        for left, right in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


class Killed(Exception):
    pass
