"""Selection by a user's own rule: a callable from the columns of all predictions to copies per row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.typed_json import write_result
from noisystudent.errors import SettingsError
from noisystudent.pseudo_labels.predictions import read_all
from noisystudent.pseudo_labels.selection.counts import BINS, bin_of
from noisystudent.pseudo_labels.selection.parts import (
    CUSTOM,
    REASONS,
    SELECTED,
    PartSelection,
    read_rows,
    write_selection,
)
from noisystudent.pseudo_labels.selection.results import SelectionSummary
from noisystudent.pseudo_labels.selection.select import SUMMARY
from noisystudent.pseudo_labels.selection.summary import SelectionStats

Ints = npt.NDArray[np.int64]
MAX_COPIES = np.iinfo(np.uint16).max


@dataclass(frozen=True, eq=False)
class PredictionColumns:
    """All predictions of one round, row by row in the order of the source.

    ``keys`` [N]; ``prediction``: indices of the predicted classes, int64 [N]; ``confidence``: largest probabilities,
    float32 [N]; ``log_probabilities``: soft labels at temperature 1, float32 [N, K]; ``classes``: the K class names;
    ``round``: the number of the round, from 1.
    """

    keys: tuple[str, ...]
    prediction: Ints
    confidence: npt.NDArray[np.float32]
    log_probabilities: npt.NDArray[np.float32]
    classes: tuple[str, ...]
    round: int

    def __len__(self) -> int:
        return len(self.keys)


SelectRows = Callable[[PredictionColumns], npt.ArrayLike]
"""From predictions to copies: how often each of the N rows trains per epoch, whole numbers, 0 = rejected."""


def select_custom(
    folder: Path, parts: Sequence[Path], rule: SelectRows, *, name: str, classes: Sequence[str], round_number: int
) -> SelectionSummary:
    """Writes the selection that a user's rule makes of all prediction parts at once; holds them all in memory.

    Args:
        folder: where to write the parts of the selection and ``summary.json``.
        parts: paths of all prediction parts of one folder, in order.
        rule: the rule, from the predictions to copies per row.
        name: the name of the rule in errors and in the summary.
        classes: class names.
        round_number: the number of the round, from 1.

    Returns:
        The summary.

    Raises:
        SettingsError: the rule does not return one whole number from 0 to 65,535 per row.
    """
    rows = list(read_rows(parts, len(classes)))
    keys, log_probabilities = read_all(parts[0].parent, len(classes))
    columns = PredictionColumns(
        keys=tuple(keys),
        prediction=np.concatenate([part.prediction for part in rows]),
        confidence=np.concatenate([part.confidence for part in rows]),
        log_probabilities=log_probabilities,
        classes=tuple(classes),
        round=round_number,
    )
    copies = check_copies(rule(columns), len(columns), name)
    stats = SelectionStats(len(classes))
    histogram = np.zeros((len(classes), BINS + 1), np.int64)
    np.add.at(histogram, (columns.prediction, bin_of(columns.confidence)), 1)

    def selections() -> Iterator[PartSelection]:
        ends = np.cumsum([len(part.prediction) for part in rows])
        for part, part_copies in zip(rows, np.split(copies, ends[:-1]), strict=True):
            reason = np.where(part_copies > 0, REASONS.index(SELECTED), REASONS.index(CUSTOM)).astype(np.int8)
            stats.add(part, part_copies, reason)
            yield PartSelection(part.name, part.groups, part_copies, reason)

    write_selection(folder, selections())
    summary = stats.summary(classes, histogram, name)
    write_result(folder / SUMMARY, summary)
    return summary


def check_copies(copies: npt.ArrayLike, rows: int, name: str) -> Ints:
    """The copies that a rule returned, as int64 [N]; raises ``SettingsError`` for another shape, type or range."""
    values = np.asarray(copies)
    wanted = f"the selection {name} must return {rows} whole numbers from 0 to {MAX_COPIES}, one per row"
    if values.shape != (rows,):
        raise SettingsError(f"{wanted}; it returned an array of shape {values.shape}.")
    if values.dtype.kind not in "buif":
        raise SettingsError(f"{wanted}; it returned values of type {values.dtype}.")
    wrong = ~np.isfinite(values) | (values < 0) | (values > MAX_COPIES) | (values != np.floor(values))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise SettingsError(f"{wanted}; row {row} has {values[row]}.")
    return values.astype(np.int64)
