"""The pseudo labels of a pile that does not fit into memory, read beside its pictures, a shard at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from noisystudent.data.unlabeled import StreamedPile
from noisystudent.errors import MismatchError
from noisystudent.pseudo_labels import predictions
from noisystudent.training.feeds import Food, Ints
from noisystudent.training.streaming import Loaded

Targets = Callable[[npt.NDArray[np.float32]], Tensor]  # target probabilities of stored log-probabilities, [N, K] each


class StreamedLabels:
    """The selected pictures of a pile with their target probabilities, from the parts of predictions and selection."""

    def __init__(self, pile: StreamedPile, predicted: Path, selected: Path, *, classes: int, targets: Targets) -> None:
        """Counts the copies of each shard; raises ``MismatchError`` for predictions of another source."""
        self._pile, self._classes, self._targets = pile, classes, targets
        self._predicted, self._selected = predictions.list_parts(predicted), predictions.list_parts(selected)
        self._rows = [predictions.account_for(path).rows for path in self._predicted]
        shards = sum(len(rows) for rows in self._rows)
        if shards != len(pile.shard_sizes) or len(self._selected) != len(self._predicted):
            raise MismatchError(
                f"{predicted} is of {shards} shards in {len(self._predicted)} parts and {selected} has "
                f"{len(self._selected)} parts, but the unlabeled source has {len(pile.shard_sizes)} shards; give the "
                "source they were made for, or make them again."
            )
        # Of each shard: the number of its part, and its place there.
        self._places = [(part, place) for part, rows in enumerate(self._rows) for place in range(len(rows))]
        self._left_out = frozenset(each.key for each in pile.left_out)
        taken = [copies.sum() for part in range(len(self._rows)) for copies in self._copies(part)]
        self.counts: Ints = np.array(taken, np.int64)

    def load(self, shard: int, places: Ints) -> Loaded:
        """What lies at ``places`` (int64 [N]) among a shard's copies: its pictures, decoded once each, and targets.

        Raises ``MismatchError`` when the source does not hold the pictures that were labeled.
        """
        part, place = self._places[shard]
        copies = self._copies(part)[place]
        taken, rows = np.unique(np.repeat(np.arange(len(copies)), copies)[places], return_inverse=True)
        keys, values = predictions.read_shard(self._predicted[part], place, self._classes)
        wanted = tuple(keys[row] for row in taken)
        pictures = self._pile.read(shard, frozenset(wanted))
        if pictures.keys != wanted:
            missing = next(iter(set(wanted) - set(pictures.keys)), wanted[0])
            raise MismatchError(
                f"{self._predicted[part]} has labels for {len(wanted)} pictures of shard {shard} of the unlabeled "
                f"source that are to be trained on, and {len(pictures)} of them can be read now ({missing!r} cannot, "
                "for example); give the source they were made for, or make them again."
            )
        sizes = torch.from_numpy(pictures.sizes.astype(np.int64))
        return Loaded(Food(torch.from_numpy(pictures.pixels), sizes, self._targets(values[taken])), rows)

    def _copies(self, part: int) -> list[Ints]:
        """How often training takes each row of a part's shards: int64 [N] each."""
        copies = predictions.read_copies(self._selected[part])
        if self._left_out:
            keys = predictions.read_keys(self._predicted[part])
            copies[[row for row, key in enumerate(keys) if key in self._left_out]] = 0
        return np.split(copies, np.cumsum(self._rows[part])[:-1])
