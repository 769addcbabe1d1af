"""What a teacher costs in training: online beside bare loops, stored and replayed beside training without a teacher.

    python benchmarks/teaching.py            # about ten minutes
    python benchmarks/teaching.py --quick    # within a minute

``online`` is ``fit`` with a teacher in the step against a loop by hand: the teacher's forward pass, then the student's
step with Hinton's loss. ``stored`` (predictions of whole images) and ``views`` (of every view, in Parquet parts) are
``fit`` against ``fit`` on labels alone. All in one process, taking turns; a ratio of 1 means no overhead; ratios are
medians over rounds, with the range.
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
    """The loop that anyone would write by hand."""
    classifier = make_classifier().train()
    optimizer, ema, t = make_optimizer(classifier, settings), Ema(classifier, settings.ema_decay), KD.temperature
    for step in range(settings.steps):
        batch = batches(step)
        with torch.inference_mode():
            taught = teacher(batch.pixels)
        logits = classifier(batch.pixels)
        soft = F.kl_div(
            torch.log_softmax(logits / t, 1), torch.log_softmax(taught / t, 1), reduction="batchmean", log_target=True
        )
        loss = KD.hard * F.cross_entropy(logits, batch.targets) + KD.soft * t * t * soft
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
    parser.add_argument("--steps", type=int, default=60, help="steps of a training")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is timed")
    parser.add_argument("--json", type=Path, help="write the rows there")
    given = parser.parse_args()
    torch.set_num_threads(1)
    steps, rounds = (10, 3) if given.quick else (given.steps, given.rounds)
    settings = TrainSettings(steps=steps)
    batches = make_batches(make_images(2000))
    classifier = make_classifier().eval()
    teacher = Teacher(classifier)
    online = TeacherLogitsBatches(batches, OnlineTeachers([teacher], {}, KD.rows))
    stored = TeacherLogitsBatches(batches, CachedTeachers([torch.randn(2000, 1, CLASSES)], batches, KD.rows))
    with tempfile.TemporaryDirectory() as folder:
        store = ViewCache(Path(folder), batches, CLASSES)
        for part in store.missing(steps):
            store.write(part, teacher)
        views = TeacherLogitsBatches(
            batches, CachedViewTeachers(lambda step: store.read(step)[:, None], batches, KD.rows)
        )
        bare, plain = "a teacher's forward pass and a bare step", "training on labels alone"
        rows = [
            row("online", bare, ratio(lambda: distill_ours(online, settings),
                                      lambda: distill_bare(batches, classifier, settings), rounds)),
            row("stored", plain, ratio(lambda: distill_ours(stored, settings),
                                       lambda: train_ours(batches, settings), rounds)),
            row("views", plain, ratio(lambda: distill_ours(views, settings),
                                      lambda: train_ours(batches, settings), rounds)),
        ]  # fmt: skip
    for each in rows:
        low, high = each["interval"]
        print(f"{each['name']:<7} {each['ratio']:.3f} of {each['versus']} ({low:.3f} to {high:.3f}, {rounds} rounds)")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
