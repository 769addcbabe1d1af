"""Overhead of online students over bare loops with the same two views, both in one process in alternating order.

    python benchmarks/online.py            # some minutes
    python benchmarks/online.py --quick    # a few seconds

The bare loop is FixMatch (for ``mean_teacher``: Mean Teacher) in a few lines: forward, loss, backward, clip, step and
an EMA, with the same model and batches as ``fit``. Each method is compared with it, so a ratio holds what the method
itself costs, too: thresholds per class, running means. The ratios are those of CPU time, of which other work on the
machine takes none; medians over rounds, with the range.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisystudent.losses.online import OnlineObjective
from noisystudent.losses.settings import OnlineMethod, OnlineSettings
from noisystudent.models.ema import Ema
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings
from noisystudent.pipeline.stages.online import STRONG, online_batch, weak_noise
from noisystudent.training.loader import LABELED, UNLABELED, Batch, BatchLoader, ImageBuffer, InMemoryStream
from noisystudent.training.loop import fit, make_optimizer
from noisystudent.training.online import OnlineLoss, TwoViewBatches
from noisystudent.training.settings import TrainSettings
from rows import ratio_row
from trainer import BATCH, CLASSES, SIZE, make_classifier, make_images, ratio

LABELS, POOL = 200, 2000
METHODS = tuple(method for method in get_args(OnlineMethod) if method != "none")


def make_batches(online: OnlineSettings, settings: TrainSettings) -> TwoViewBatches:
    """Batches of 200 labeled and 2,000 unlabeled random images in two views."""
    images = make_images(LABELS + POOL)
    buffer = ImageBuffer(torch.from_numpy(images.pixels), torch.from_numpy(images.sizes.astype(np.int64)))
    targets = torch.eye(CLASSES)[torch.from_numpy(images.labels)]
    counts = online_batch(settings, online)
    streams = (
        InMemoryStream(LABELED, buffer, targets, np.arange(LABELS), counts[LABELED], seed=0),
        InMemoryStream(UNLABELED, buffer, targets, np.arange(LABELS, LABELS + POOL), counts[STRONG], seed=0),
    )
    noise = NoiseSettings()
    weak = InputNoise(weak_noise(noise), size=SIZE, strength=1.0, rng=CounterRng(0, "weak"))
    strong = InputNoise(noise, size=SIZE, strength=0.5, rng=CounterRng(0, "strong"))
    return TwoViewBatches(BatchLoader(streams, weak), strong, online.asks_average)


def train_bare(batches: TwoViewBatches, settings: TrainSettings) -> None:
    """A minimal hand-written loop."""
    classifier = make_classifier().train()
    optimizer, ema = make_optimizer(classifier, settings), Ema(classifier, settings.ema_decay)
    for step in range(settings.steps):
        batch = batches(step)
        logits = classifier(batch.pixels)
        loss = bare_fixmatch(logits, batch) if batch.for_average is None else bare_mean_teacher(logits, batch, ema)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(classifier.parameters(), settings.clip)
        optimizer.step()
        ema.update(step)


def bare_fixmatch(logits: Tensor, batch: Batch) -> Tensor:
    weak, strong = logits[batch.labeled :].chunk(2)
    confidence, label = weak.detach().softmax(dim=-1).max(dim=-1)
    on_strong = F.cross_entropy(strong, label, reduction="none")
    return F.cross_entropy(logits[: batch.labeled], batch.targets) + ((confidence >= 0.95) * on_strong).mean()


def bare_mean_teacher(logits: Tensor, batch: Batch, ema: Ema) -> Tensor:
    assert batch.for_average is not None
    with torch.no_grad():
        wanted = ema.classifier(batch.for_average).softmax(dim=-1)
    on_strong = F.mse_loss(logits[batch.labeled :].softmax(dim=-1), wanted)
    return F.cross_entropy(logits[: batch.labeled], batch.targets) + 50 * on_strong


def train_ours(batches: TwoViewBatches, online: OnlineSettings, settings: TrainSettings) -> None:
    objective = OnlineLoss(OnlineObjective(online, classes=CLASSES, unlabeled=POOL), settings.steps)
    with tempfile.TemporaryDirectory() as folder:
        fit(make_classifier(), batches, objective, settings, Path(folder), seed=0)


def measure(method: OnlineMethod, settings: TrainSettings, rounds: int) -> dict[str, Any]:
    """The rate of a method in ``fit`` against the bare loop."""
    online = OnlineSettings(method=method)
    batches = make_batches(online, settings)
    ours, bare = partial(train_ours, batches, online, settings), partial(train_bare, batches, settings)
    ratios = ratio(ours, bare, rounds, clock=time.process_time)
    return ratio_row(method, round(float(np.median(ratios)), 3), "times the rate", versus="a bare loop", ratios=ratios)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps, rounds = (2, 1) if options.quick else (10, 5)
    settings = TrainSettings(steps=steps, batch_size=16 if options.quick else BATCH)
    rows = []
    for method in METHODS:
        rows.append(measure(method, settings, rounds))
        low, high = rows[-1]["interval"]
        print(
            f"{method:<14} {rows[-1]['ratio']:.3f} of a bare loop ({low:.3f} to {high:.3f}, {rounds} rounds)",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
