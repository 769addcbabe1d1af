"""The order in which training sees its rows: a pure function of seed, stream and step."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from noisystudent.randomness import generator

Indices = npt.NDArray[np.int64]


class Order:
    """An endless pass over ``rows``, reshuffled in every epoch.

    ``rows`` (int [N], N at least 1) may name a row several times: these are its copies. Nothing is remembered
    between calls but two permutations, kept because they are slow to draw again.
    """

    def __init__(self, rows: npt.NDArray[np.int64], *, seed: int, stream: str) -> None:
        assert len(rows) > 0
        self._rows = np.array(rows, dtype=np.int64)
        self._seed, self._stream = seed, stream
        self._permutations: dict[int, Indices] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, step: int, size: int) -> tuple[Indices, Indices, Indices]:
        """Rows, their positions in ``rows`` and the epochs that they are drawn in, each int64 [size].

        With one ``size`` for all steps, every epoch has every position exactly once, and batches run on
        across its end. A position tells the copies of a row apart: position and epoch are what their noise is
        drawn by.
        """
        draws = np.arange(step * size, (step + 1) * size, dtype=np.int64)
        epochs, places = np.divmod(draws, len(self))
        positions = np.empty(size, dtype=np.int64)
        for epoch in np.unique(epochs):
            within = epochs == epoch
            positions[within] = self._permutation(int(epoch))[places[within]]
        return self._rows[positions], positions, epochs

    def _permutation(self, epoch: int) -> Indices:
        permutation = self._permutations.get(epoch)
        if permutation is None:
            permutation = generator(self._seed, "order", self._stream, epoch).permutation(len(self))
            newest = dict(sorted(self._permutations.items())[-1:])
            self._permutations = newest | {epoch: permutation}
        return permutation
