"""What pretraining learns from: all images of a run without their labels, each in two random views."""

from __future__ import annotations

import numpy as np
import torch

from noisystudent.data.images import content_fingerprint
from noisystudent.data.unlabeled import StreamedUnlabeled
from noisystudent.errors import SettingsError
from noisystudent.noise.contrastive import ContrastiveView
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.stages.streamed_images import stream_images
from noisystudent.training.contrastive import ContrastiveBatches
from noisystudent.training.loader import UNLABELED, BatchSharding, BatchStream, InMemoryStream
from noisystudent.training.pretraining_settings import PretrainingSettings


def pretraining_images(context: RunContext) -> int:
    """The number of images that pretraining shows per epoch; of a streamed set, those that cannot be read included."""
    unlabeled = context.splits.unlabeled
    return sum(unlabeled.shard_sizes) if isinstance(unlabeled, StreamedUnlabeled) else len(context.buffer)


def fingerprints_of_images(context: RunContext) -> dict[str, object]:
    """Identifies the images that pretraining learns from."""
    unlabeled = context.splits.unlabeled
    if isinstance(unlabeled, StreamedUnlabeled):
        return {"unlabeled": unlabeled.fingerprint, "window": context.settings.data.window}
    unlabeled_images = {"unlabeled": unlabeled.fingerprint} if unlabeled.shard_sizes else {}
    return {"labeled": content_fingerprint(context.splits.labeled.without_labels()), **unlabeled_images}


def check_batch(context: RunContext) -> None:
    """Raises ``SettingsError`` for batches of more images than there are, or that processes cannot share evenly."""
    size, images = context.settings.pretraining.batch_size, pretraining_images(context)
    if size > images:
        raise SettingsError(
            f"pretraining.batch_size is {size} and there are {images} images; a batch would hold one image several "
            f"times, whose views would repel each other. Give a batch size of 2 to {images}, or more images."
        )
    if size % context.engine.group.world_size:
        raise SettingsError(
            f"pretraining.batch_size is {size}, which {context.engine.group.world_size} processes cannot share evenly. "
            "Give a multiple of their number."
        )


def contrastive_batches(
    context: RunContext, stage: str, settings: PretrainingSettings, size: int, key: int
) -> ContrastiveBatches:
    """The batches of a stage by step, with views of ``size`` pixels, in the order of the stage's own seed ``key``."""
    assert settings.color != "auto"
    assert settings.blur != "auto"
    view = ContrastiveView(
        size=size,
        area=settings.crop_area,
        color=settings.color,
        blur=settings.blur,
        mirror=context.settings.noise.flip,
        rng=CounterRng(context.settings.seed, f"contrastive-views/{stage}"),
        storage_size=context.splits.format.storage_size,
    )
    sharding = BatchSharding(context.engine.group)
    return ContrastiveBatches(_stream(context, settings.batch_size, key, sharding), view, sharding)


def _stream(context: RunContext, count: int, key: int, sharding: BatchSharding) -> BatchStream:
    unlabeled, device = context.splits.unlabeled, context.device
    if isinstance(unlabeled, StreamedUnlabeled):
        return stream_images(context, unlabeled, count, sharding, seed=key, targets=0)
    images = len(context.buffer)
    no_targets = torch.zeros(images, 0, device=device)
    return InMemoryStream(UNLABELED, context.buffer, no_targets, np.arange(images), count, seed=key)
