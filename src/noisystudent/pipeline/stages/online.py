"""The online student of a run: it learns from answers to weak views of the unlabeled images, without stored labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from noisystudent.data.images import content_fingerprint
from noisystudent.data.unlabeled import StreamedUnlabeled
from noisystudent.errors import DataError, SettingsError
from noisystudent.losses.online import OnlineObjective
from noisystudent.losses.settings import OnlineSettings
from noisystudent.noise.settings import NoiseSettings
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.stages.noise import noise_at
from noisystudent.pipeline.stages.online_checks import STRONG, online_batch
from noisystudent.pipeline.stages.streamed_images import stream_images
from noisystudent.pipeline.stages.train_data import TrainSpec, labeled_shares, labeled_targets
from noisystudent.training.loader import LABELED, UNLABELED, BatchLoader, BatchStream, InMemoryStream
from noisystudent.training.online import OnlineLoss, TwoViewBatches

ONLINE = "online"
STUDENT = f"{ONLINE}/student"  # the stage
WEAK_STRENGTH = 1.0  # shifts by up to noise.pad, as published


def answered_by_average(batch: Mapping[str, int], online: OnlineSettings) -> int:
    """The images per step that the averaged weights answer to."""
    return batch[STRONG] if online.asks_average else 0


def weak_noise(noise: NoiseSettings) -> NoiseSettings:
    """The noise of weak views: shifts, and flips where the settings flip (Sohn et al. 2020, section 2.3)."""
    crop = "none" if noise.crop == "none" else "pad"
    return noise.model_copy(update={"crop": crop, "randaugment": False, "hole": 0, "erasing": 0.0})


def online_spec(context: RunContext) -> TrainSpec:
    """The labeled images and two views of each unlabeled one, for a student that learns online.

    Raises:
        DataError: There are no unlabeled images.
        SettingsError: A batch is too small, or it is made of micro-batches and the method would remember something
            else in each, or smoothed labels would keep answers below the threshold.
    """
    settings, unlabeled = context.settings, context.splits.unlabeled
    online, method = settings.online, settings.online.method
    images = sum(unlabeled.shard_sizes)
    if not images:
        raise DataError(f"online.method {method} needs unlabeled images, and there are none; give a source of them.")
    batch = online_batch(settings.train, online)
    _check(context, batch)
    targets, rows = labeled_targets(context), np.arange(len(context.splits.labeled))

    def streams(seed: int) -> tuple[BatchStream, ...]:
        of_labels = InMemoryStream(LABELED, context.buffer, targets, rows, batch[LABELED], seed=seed)
        return of_labels, _unlabeled_stream(context, targets, batch[STRONG], seed)

    inputs: dict[str, object] = {
        "labeled": content_fingerprint(context.splits.labeled),
        "unlabeled": unlabeled.fingerprint,
    }
    if context.streams:
        inputs["window"] = settings.data.window
    objective = {"label_smoothing": settings.objective.label_smoothing, "online": online.model_dump()}
    shares = labeled_shares(context, rows)
    return TrainSpec(batch, streams, inputs, objective, rows, shares, online=online, unlabeled=images)


def _unlabeled_stream(context: RunContext, targets: Tensor, count: int, seed: int) -> BatchStream:
    """The unlabeled images, after the labeled ones in memory, or streamed; ``targets`` has a row for each in memory."""
    unlabeled = context.splits.unlabeled
    if isinstance(unlabeled, StreamedUnlabeled):
        return stream_images(context, unlabeled, count, context.sharding, seed=seed, targets=targets.shape[1])
    rows = np.arange(len(context.splits.labeled), len(context.buffer))
    return InMemoryStream(UNLABELED, context.buffer, targets, rows, count, seed=seed)


def _check(context: RunContext, batch: Mapping[str, int]) -> None:
    settings, method = context.settings, context.settings.online.method
    micro_batches = settings.train.grad_accum_steps
    fewest = 2 if method == "softmatch" else 1
    if batch[LABELED] < 1 or batch[STRONG] < fewest:
        raise SettingsError(
            f"train.batch_size {settings.train.batch_size} leaves {batch[STRONG]} unlabeled images per step, each in "
            f"two views, beside {batch[LABELED]} labeled ones; online.method {method} needs at least {fewest} beside "
            "1. Raise it."
        )
    smoothing, classes = settings.objective.label_smoothing, len(context.splits.classes)
    surest = 1 - smoothing + smoothing / classes
    if method in ("fixmatch", "flexmatch") and surest < settings.online.threshold:
        raise SettingsError(
            f"objective.label_smoothing {smoothing:g} teaches the student to be {100 * surest:.0f}% sure, below "
            f"online.threshold {settings.online.threshold:g}, so hardly any image would count; give "
            "objective.label_smoothing 0, or a lower threshold."
        )
    if micro_batches > 1 and settings.online.has_memory:
        raise SettingsError(
            f"train.grad_accum_steps {micro_batches} shows a batch in {micro_batches} parts, one after another, and "
            f"online.method {method} keeps averages over whole batches; give train.grad_accum_steps 1, more processes, "
            "or fixmatch or mean_teacher without online.alignment."
        )


def online_batches(
    context: RunContext, stage: str, streams: Sequence[BatchStream], size: int, strength: float
) -> TwoViewBatches:
    """The batches of an online student: ``streams`` of labeled and unlabeled images, of ``size`` pixels.

    ``strength`` is that of strong views; each kind of view has its own random numbers.
    """
    weak = noise_at(context, stage, size, WEAK_STRENGTH, weak_noise(context.settings.noise))
    strong = noise_at(context, f"{stage}/{STRONG}", size, strength)
    batches = BatchLoader(streams, weak, sharding=context.sharding)
    return TwoViewBatches(batches, strong, context.settings.online.asks_average)


def online_objective(context: RunContext, spec: TrainSpec) -> OnlineLoss:
    """The objective of an online student, with nothing remembered yet."""
    assert spec.online
    classes = len(context.splits.classes)
    memory = OnlineObjective(spec.online, classes=classes, unlabeled=spec.unlabeled).to(context.device)
    return OnlineLoss(memory, context.settings.train.steps, context.engine.group)
