"""Pseudo labels of an unlabeled set that does not fit into memory, read beside its images, one shard at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noisystudent.data.unlabeled import StreamedUnlabeled
from noisystudent.errors import MismatchError
from noisystudent.pseudo_labels import predictions
from noisystudent.training.loader import Ints, RawBatch
from noisystudent.training.streaming import Loaded

Targets = Callable[[npt.NDArray[np.float32]], Tensor]  # from log-probabilities to target probabilities, [N, K] each


class StreamedLabels:
    """The selected images of a streamed set with their targets, from the parts of predictions and selection."""

    def __init__(
        self,
        unlabeled: StreamedUnlabeled,
        predictions_folder: Path,
        selection_folder: Path,
        *,
        classes: int,
        targets: Targets,
    ) -> None:
        """Counts the copies per shard; raises ``MismatchError`` for predictions of another source."""
        self._unlabeled, self._classes, self._targets = unlabeled, classes, targets
        self._predictions = predictions.list_parts(predictions_folder)
        self._selection = predictions.list_parts(selection_folder)
        self._rows_by_part = [predictions.read_part_stats(path).rows for path in self._predictions]
        shards = sum(len(rows) for rows in self._rows_by_part)
        if shards != len(unlabeled.shard_sizes) or len(self._selection) != len(self._predictions):
            raise MismatchError(
                f"{predictions_folder} is of {shards} shards in {len(self._predictions)} parts and {selection_folder} "
                f"has {len(self._selection)} parts, but the unlabeled source has {len(unlabeled.shard_sizes)} shards; "
                "give the source they were made for, or make them again."
            )
        # For each shard: its part, and its index within the part.
        self._part_of_shard = [
            (part, index) for part, rows in enumerate(self._rows_by_part) for index in range(len(rows))
        ]
        self._left_out = frozenset(image.key for image in unlabeled.left_out)
        copies_by_shard = [copies.sum() for part in range(len(self._predictions)) for copies in self._copies(part)]
        self.counts: Ints = np.array(copies_by_shard, np.int64)

    def load(self, shard: int, places: Ints) -> Loaded:
        """The samples at ``places`` (int64 [N]) among a shard's copies, each image decoded once.

        Raises ``MismatchError`` when the source no longer holds the images that were labeled.
        """
        part, index = self._part_of_shard[shard]
        copies = self._copies(part)[index]
        selected, rows = np.unique(np.repeat(np.arange(len(copies)), copies)[places], return_inverse=True)
        keys, log_probabilities = predictions.read_shard(self._predictions[part], index, self._classes)
        wanted = tuple(keys[row] for row in selected)
        images = self._unlabeled.read(shard, frozenset(wanted))
        if images.keys != wanted:
            missing = next(iter(set(wanted) - set(images.keys)), wanted[0])
            raise MismatchError(
                f"{self._predictions[part]} has labels for {len(wanted)} images of shard {shard} of the unlabeled "
                f"source that the student trains on, and {len(images)} of them can be read now ({missing!r} cannot, "
                "for example); give the source they were made for, or make them again."
            )
        sizes = torch.from_numpy(images.sizes.astype(np.int64))
        targets = self._targets(log_probabilities[selected])
        return Loaded(RawBatch(torch.from_numpy(images.pixels), sizes, targets), rows)

    def _copies(self, part: int) -> list[Ints]:
        """Copies of each row of a part's shards: int64 [N] per shard."""
        copies = predictions.read_copies(self._selection[part])
        if self._left_out:
            keys = predictions.read_keys(self._predictions[part])
            copies[[row for row, key in enumerate(keys) if key in self._left_out]] = 0
        return np.split(copies, np.cumsum(self._rows_by_part[part])[:-1])
