"""Overhead of training and labeling over bare loops, both in one process in alternating order.

    python benchmarks/trainer.py            # a few minutes
    python benchmarks/trainer.py --quick    # a few seconds

The benchmark compares ``fit`` (schedule, EMA, metrics, saved state) with a bare loop of forward, backward, clip and
step with the same model, batches and noise, and labeling (Parquet parts) with a bare forward loop. A ratio of 1 means
no overhead; ratios are medians over rounds, with the range. The bare loop keeps an EMA too, since a teacher needs one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from noisystudent.data.images import Images
from noisystudent.data.unlabeled import InMemoryUnlabeled
from noisystudent.losses.objectives import supervised
from noisystudent.models.classifier import Classifier, create_classifier
from noisystudent.models.ema import Ema
from noisystudent.models.teacher import Teacher
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings
from noisystudent.pseudo_labels.labeling.label_shards import label
from noisystudent.pseudo_labels.predictions import cut_parts
from noisystudent.training.loader import BatchLoader, ImageBuffer, InMemoryStream
from noisystudent.training.loop import fit, make_optimizer
from noisystudent.training.settings import TrainSettings
from rows import ratio_row

SIZE, CLASSES, BATCH = 32, 10, 64


def make_images(count: int) -> Images:
    """Random color images; the content does not change the time."""
    random = np.random.default_rng(0)
    return Images(
        keys=tuple(str(i) for i in range(count)),
        pixels=random.integers(0, 256, (count, 3, SIZE, SIZE), dtype=np.uint8),
        sizes=np.full((count, 2), SIZE, np.int32),
        labels=random.integers(0, CLASSES, count),
        digests=("",) * count,
        failures=(),
        classes=None,
    )


def make_classifier() -> Classifier:
    names = tuple(str(i) for i in range(CLASSES))
    return create_classifier("tiny_resnet", classes=names, channels=3, size=SIZE, dropout=0.2, stochastic_depth=0.2)


def make_batches(images: Images) -> BatchLoader:
    buffer = ImageBuffer(torch.from_numpy(images.pixels), torch.from_numpy(images.sizes.astype(np.int64)))
    targets = torch.eye(CLASSES)[torch.from_numpy(images.labels)]
    noise = InputNoise(NoiseSettings(), size=SIZE, strength=0.5, rng=CounterRng(0, "benchmark"))
    return BatchLoader([InMemoryStream("labeled", buffer, targets, np.arange(len(images)), BATCH, seed=0)], noise)


def train_bare(batches: BatchLoader, settings: TrainSettings) -> None:
    """A minimal hand-written loop."""
    classifier = make_classifier().train()
    optimizer, ema = make_optimizer(classifier, settings), Ema(classifier, settings.ema_decay)
    for step in range(settings.steps):
        batch = batches(step)
        loss = supervised(classifier(batch.pixels), batch.targets).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(classifier.parameters(), settings.clip)
        optimizer.step()
        ema.update(step)


def train_ours(batches: BatchLoader, settings: TrainSettings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        objective = lambda logits, batch: supervised(logits, batch.targets)  # noqa: E731
        fit(make_classifier(), batches, objective, settings, Path(folder), seed=0)


def label_bare(teacher: Teacher, images: Images, batch: int) -> None:
    for first in range(0, len(images), batch):
        pixels = torch.from_numpy(images.pixels[first : first + batch])
        teacher(pixels, torch.from_numpy(images.sizes[first : first + batch])).softmax(dim=1).numpy()


def label_ours(teacher: Teacher, images: Images, batch: int) -> None:
    unlabeled = InMemoryUnlabeled(images, [])
    with tempfile.TemporaryDirectory() as folder:
        parts = enumerate(cut_parts(len(unlabeled.shard_sizes)))
        label(teacher, unlabeled.read, parts, Path(folder), batch_size=batch)


def ratio(
    ours: Callable[[], None], bare: Callable[[], None], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """The rate of ours divided by the rate of bare by a clock, once per round, in alternating order."""
    ours(), bare()
    ratios = []
    for number in range(rounds):
        seconds = {}
        for job in (ours, bare) if number % 2 else (bare, ours):
            start = clock()
            job()
            seconds[job] = clock() - start
        ratios.append(seconds[bare] / seconds[ours])
    return ratios


def row(name: str, versus: str, ratios: list[float]) -> dict[str, Any]:
    return ratio_row(name, round(float(np.median(ratios)), 3), "times the rate", versus=versus, ratios=ratios)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps, image_count, rounds = (3, 512, 2) if options.quick else (60, 6144, 7)
    settings = TrainSettings(steps=steps)
    batches = make_batches(make_images(2000))
    teacher, images = Teacher(make_classifier()), make_images(image_count)
    rows = [
        row(
            "fit",
            "a bare loop",
            ratio(lambda: train_ours(batches, settings), lambda: train_bare(batches, settings), rounds),
        ),
        row(
            "label",
            "a bare forward loop",
            ratio(lambda: label_ours(teacher, images, 512), lambda: label_bare(teacher, images, 512), rounds),
        ),
    ]
    for measured in rows:
        low, high = measured["interval"]
        spread = f"({low:.3f} to {high:.3f}, {rounds} rounds)"
        print(f"{measured['name']:<6} {measured['ratio']:.3f} of {measured['versus']} {spread}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
