"""The pseudo labels of a pile that does not fit into memory, read beside its pictures, a shard at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noisystudent import predictions
from noisystudent.data.pile import StreamedPile
from noisystudent.errors import MismatchError
from noisystudent.training.feeds import Food, Ints
from noisystudent.training.stream import Loaded

Targets = Callable[[npt.NDArray[np.float32]], Tensor]  # target probabilities of stored log-probabilities, [N, K] each


class StreamedLabels:
    """The selected pictures of a pile with their target probabilities; each shard has a part of the predictions."""

    def __init__(self, pile: StreamedPile, predicted: Path, selected: Path, *, classes: int, targets: Targets) -> None:
        """Counts the copies of each shard; raises ``MismatchError`` for predictions of another source."""
        self._pile, self._classes, self._targets = pile, classes, targets
        self._predicted, self._selected = predictions.list_parts(predicted), predictions.list_parts(selected)
        if not len(self._predicted) == len(self._selected) == len(pile.shard_sizes):
            raise MismatchError(
                f"{predicted} has {len(self._predicted)} parts and {selected} {len(self._selected)}, but the unlabeled "
                f"source has {len(pile.shard_sizes)} shards; give the source they were made for, or make them again."
            )
        self._left_out = frozenset(each.key for each in pile.left_out)
        self.counts: Ints = np.array([self._copies(shard).sum() for shard in range(len(self._selected))], np.int64)

    def load(self, shard: int, places: Ints) -> Loaded:
        """What lies at ``places`` (int64 [N]) among a shard's copies: its pictures, decoded once each, and targets.

        Raises ``MismatchError`` when the source does not hold the pictures that were labeled.
        """
        copies = self._copies(shard)
        taken, rows = np.unique(np.repeat(np.arange(len(copies)), copies)[places], return_inverse=True)
        keys, values = predictions.read_log_probabilities(self._predicted[shard], self._classes)
        wanted = tuple(keys[row] for row in taken)
        pictures = self._pile.read(shard, frozenset(wanted))
        if pictures.keys != wanted:
            missing = next(iter(set(wanted) - set(pictures.keys)), wanted[0])
            raise MismatchError(
                f"{self._predicted[shard]} has labels for {len(wanted)} pictures of shard {shard} of the unlabeled "
                f"source that are to be trained on, and {len(pictures)} of them can be read now ({missing!r} cannot, "
                "for example); give the source that they were made for, or make them again."
            )
        sizes = torch.from_numpy(pictures.sizes.astype(np.int64))
        return Loaded(Food(torch.from_numpy(pictures.pixels), sizes, self._targets(values[taken])), rows)

    def _copies(self, shard: int) -> Ints:
        """How often training takes each row of a shard's predictions: int64 [N]."""
        copies = predictions.read_copies(self._selected[shard])
        if self._left_out:
            keys = predictions.read_keys(self._predicted[shard])
            copies[[row for row, key in enumerate(keys) if key in self._left_out]] = 0
        return copies
