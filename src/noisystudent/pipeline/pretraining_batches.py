"""What pretraining learns from: all images of a run without their labels, each in two random views."""

from __future__ import annotations

import numpy as np
import torch

from noisystudent.data.images import Failure, Images, check_failures, content_fingerprint
from noisystudent.data.unlabeled import StreamedUnlabeled
from noisystudent.display.wording import plural, printable
from noisystudent.errors import DataError, SettingsError
from noisystudent.noise.contrastive import ContrastiveView
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.pipeline.context import RunContext
from noisystudent.runtime.progress import Reporter
from noisystudent.training.contrastive import ContrastiveBatches
from noisystudent.training.loader import UNLABELED, BatchSharding, BatchStream, InMemoryStream, Ints, RawBatch
from noisystudent.training.pretraining_settings import PretrainingSettings
from noisystudent.training.sampler import WindowedSampler
from noisystudent.training.streaming import Loaded, ShardStream


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
        sizes = np.array(unlabeled.shard_sizes, np.int64)
        sampler = WindowedSampler(sizes, window=context.settings.data.window, seed=key, stream=UNLABELED)
        shards = _Shards(unlabeled, context.settings.data.max_corrupt_fraction, context.reporter)
        return ShardStream(UNLABELED, sampler, shards.load, count, device, sharding=sharding)
    images = len(context.buffer)
    no_targets = torch.zeros(images, 0, device=device)
    return InMemoryStream(UNLABELED, context.buffer, no_targets, np.arange(images), count, seed=key)


class _Shards:
    """The images of a streamed set, decoded where this process shows them.

    Where some of a shard are left out or cannot be read, those after them take their places.
    """

    def __init__(self, unlabeled: StreamedUnlabeled, max_corrupt_fraction: float, reporter: Reporter) -> None:
        self._unlabeled, self._most, self._reporter = unlabeled, max_corrupt_fraction, reporter
        self._failures: dict[int, list[Failure]] = {}  # of the shards that were read

    def load(self, shard: int, places: Ints) -> Loaded:
        """The images at ``places`` of a shard, int64 [N].

        Raises ``DataError`` if it has none that can be shown, or if too many in all cannot be read.
        """
        images, shown = self._unlabeled.read_rows(shard, places)
        self._note_failures(shard, images)
        if not len(images):
            raise DataError(
                f"shard {shard} of the unlabeled source has no image that can be read and is not held out as well; "
                "leave the shard out."
            )
        chosen, rows = np.unique(shown, return_inverse=True)
        raw = RawBatch(
            torch.from_numpy(images.pixels[chosen]),
            torch.from_numpy(images.sizes[chosen].astype(np.int64)),
            torch.zeros(len(chosen), 0),
        )
        return Loaded(raw, rows)

    def _note_failures(self, shard: int, images: Images) -> None:
        """Says once per shard which of its images cannot be read."""
        if shard in self._failures or not images.failures:
            return
        self._failures[shard] = list(images.failures)
        first, count = images.failures[0], plural(len(images.failures), "image")
        text = f"{count} of shard {shard} of the unlabeled set cannot be read, such as {first.key!r} ({first.reason})"
        self._reporter.say(printable(f"{text}; others are shown in their places"))
        found = [failure for failures in self._failures.values() for failure in failures]
        check_failures(self._unlabeled.source, found, sum(self._unlabeled.shard_sizes), self._most)
