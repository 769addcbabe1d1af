"""Cost of a teacher in training: online against bare loops, cached logits against training without a teacher.

    python benchmarks/teaching.py            # about ten minutes
    python benchmarks/teaching.py --quick    # a few seconds

``online`` compares ``fit`` with a teacher in the step against a hand-written loop: the teacher's forward pass, then the
student's step with Hinton's loss. ``cached`` (logits of whole images) and ``cached_views`` (logits of every view, in
Parquet parts) compare ``fit`` against ``fit`` on labels alone. All run in one process in alternating order. A ratio of
1 means no overhead; ratios are medians over rounds, with the range.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisystudent.losses.objectives import LossTerms, distillation_objective
from noisystudent.losses.settings import DistillationSettings
from noisystudent.models.ema import Ema
from noisystudent.models.teacher import Teacher
from noisystudent.training.loader import Batch, BatchLoader
from noisystudent.training.loop import fit, make_optimizer
from noisystudent.training.settings import TrainSettings
from noisystudent.training.teacher_logits import (
    CachedTeachers,
    CachedViewTeachers,
    OnlineTeachers,
    TeacherLogitsBatches,
    ViewCache,
)
from trainer import CLASSES, make_batches, make_classifier, make_images, ratio, row, train_ours

KD = DistillationSettings(method="kd")


def distill_bare(batches: BatchLoader, teacher: nn.Module, settings: TrainSettings) -> None:
    """A minimal hand-written loop."""
    classifier = make_classifier().train()
    optimizer, ema, t = make_optimizer(classifier, settings), Ema(classifier, settings.ema_decay), KD.temperature
    for step in range(settings.steps):
        batch = batches(step)
        with torch.inference_mode():
            teacher_logits = teacher(batch.pixels)
        logits = classifier(batch.pixels)
        soft = F.kl_div(
            torch.log_softmax(logits / t, 1),
            torch.log_softmax(teacher_logits / t, 1),
            reduction="batchmean",
            log_target=True,
        )
        loss = KD.hard_weight * F.cross_entropy(logits, batch.targets) + KD.soft_weight * t * t * soft
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(classifier.parameters(), settings.clip)
        optimizer.step()
        ema.update(step)


def objective(logits: Tensor, batch: Batch) -> LossTerms:
    return distillation_objective(logits, batch.targets, batch.labeled, batch.teacher_logits, KD)


def distill_ours(batches: TeacherLogitsBatches, settings: TrainSettings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fit(make_classifier(), batches, objective, settings, Path(folder), seed=0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps")
    parser.add_argument("--steps", type=int, default=60, help="steps per training run")
    parser.add_argument("--rounds", type=int, default=7, help="number of timed rounds")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps, rounds = (3, 2) if options.quick else (options.steps, options.rounds)
    settings = TrainSettings(steps=steps)
    batches = make_batches(make_images(2000))
    classifier = make_classifier().eval()
    teacher = Teacher(classifier)
    online = TeacherLogitsBatches(batches, OnlineTeachers([teacher], {}, KD.rows))
    cached = TeacherLogitsBatches(batches, CachedTeachers([torch.randn(2000, 1, CLASSES)], batches, KD.rows))
    with tempfile.TemporaryDirectory() as folder:
        cache = ViewCache(Path(folder), batches, CLASSES)
        for part in cache.missing(steps):
            cache.write(part, teacher)
        views = TeacherLogitsBatches(
            batches, CachedViewTeachers(lambda step: cache.read(step)[:, None], batches, KD.rows)
        )
        bare, plain = "a teacher's forward pass and a bare step", "training on labels alone"
        rows = [
            row("online", bare, ratio(lambda: distill_ours(online, settings),
                                      lambda: distill_bare(batches, classifier, settings), rounds)),
            row("cached", plain, ratio(lambda: distill_ours(cached, settings),
                                       lambda: train_ours(batches, settings), rounds)),
            row("cached_views", plain, ratio(lambda: distill_ours(views, settings),
                                      lambda: train_ours(batches, settings), rounds)),
        ]  # fmt: skip
    for measured in rows:
        low, high = measured["interval"]
        spread = f"({low:.3f} to {high:.3f}, {rounds} rounds)"
        print(f"{measured['name']:<13} {measured['ratio']:.3f} of {measured['versus']} {spread}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
