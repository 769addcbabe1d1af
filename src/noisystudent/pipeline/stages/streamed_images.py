"""Images of a streamed set without labels, for trainings that need none: pretraining, and online students."""

from __future__ import annotations

import numpy as np
import torch

from noisystudent.data.images import Failure, Images, check_failures
from noisystudent.data.unlabeled import StreamedUnlabeled
from noisystudent.display.wording import plural, printable
from noisystudent.errors import DataError
from noisystudent.pipeline.context import RunContext
from noisystudent.runtime.progress import Reporter
from noisystudent.training.loader import UNLABELED, BatchSharding, Ints, RawBatch
from noisystudent.training.sampler import WindowedSampler
from noisystudent.training.streaming import Loaded, ShardStream


def stream_images(
    context: RunContext,
    unlabeled: StreamedUnlabeled,
    count: int,
    sharding: BatchSharding,
    *,
    seed: int,
    targets: int,
) -> ShardStream:
    """A stream of the images of ``unlabeled``, ``count`` per step over all processes, in the order of ``seed``.

    An epoch has a place for every image of the source. Where an image is left out or cannot be read, another of its
    shard is shown. ``sharding`` splits a step's images, and ``targets`` is the width of the rows of zeros that stand
    for labels.
    """
    data = context.settings.data
    sampler = WindowedSampler(
        np.array(unlabeled.shard_sizes, np.int64), window=data.window, seed=seed, stream=UNLABELED
    )
    shards = _Shards(unlabeled, data.max_corrupt_fraction, context.reporter, targets=targets)
    return ShardStream(UNLABELED, sampler, shards.load, count, context.device, sharding=sharding)


class _Shards:
    """The images of a streamed set, decoded where this process shows them.

    Where some of a shard are left out or cannot be read, those after them take their places.
    """

    def __init__(
        self, unlabeled: StreamedUnlabeled, max_corrupt_fraction: float, reporter: Reporter, *, targets: int
    ) -> None:
        self._unlabeled, self._most, self._reporter = unlabeled, max_corrupt_fraction, reporter
        self._targets = targets
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
            torch.zeros(len(chosen), self._targets),
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
