"""A tiny encoder with its projection head, and pairs of views, for tests of contrastive pretraining.

As a program that torchrun starts, it trains in several processes; the first one saves the final weights.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from noisystudent.models.projection import create_projected
from noisystudent.noise.contrastive import ContrastiveView
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.runtime.device import Engine, seeded
from noisystudent.runtime.env import exit_process
from noisystudent.runtime.process_group import open_process_group
from noisystudent.training.contrastive import ContrastiveBatches, ContrastiveLoss
from noisystudent.training.loader import UNSHARDED, BatchSharding, ImageBuffer, InMemoryStream
from noisystudent.training.loop import fit
from noisystudent.training.settings import TrainSettings
from training_setup import CPU

STEPS = 3  # the head starts small, so its normalization makes rounding errors grow fast


def make_batches(sharding: BatchSharding = UNSHARDED) -> ContrastiveBatches:
    random = np.random.default_rng(0)
    colors = random.integers(0, 206, (20, 3, 1, 1))  # each image has its own
    pixels = torch.from_numpy((colors + random.integers(0, 50, (20, 3, 8, 8))).astype(np.uint8))
    buffer = ImageBuffer(pixels, torch.full((20, 2), 8))
    stream = InMemoryStream("unlabeled", buffer, torch.zeros(20, 0), np.arange(20), 8, seed=0)
    view = ContrastiveView(
        size=8, area=0.2, color=0.1, blur=False, mirror=True, rng=CounterRng(0, "views"), storage_size=8
    )
    return ContrastiveBatches(stream, view, sharding)


def make_projected():
    with seeded(1, CPU):
        return create_projected("tiny_resnet", channels=3, size=8, layers=2, projection=16)


def train(folder: Path, engine: Engine, optimizer: str):
    """A short pretraining; AdamW would amplify rounding errors of gradients near 0."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = TrainSettings(
        steps=STEPS, batch_size=8, optimizer=optimizer, learning_rate=0.05, warmup=0, clip=0, ema_decay=0
    )
    batches = make_batches(BatchSharding(engine.group))
    return fit(
        make_projected(), batches, ContrastiveLoss(0.5, 1.0, engine.group), settings, folder, seed=3, engine=engine
    )[0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    engine = Engine(CPU, group=open_process_group(), sharded="sharded" in sys.argv)
    trained = train(Path(sys.argv[1]), engine, sys.argv[2])
    if engine.group.is_main:
        torch.save(trained.state_dict(), Path(sys.argv[1]) / "weights.pt")
    exit_process(0)
