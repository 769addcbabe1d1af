"""Selects pseudo labels: reads the parts of predictions and writes the parts of a selection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from noisystudent.artifacts.typed_json import write_result
from noisystudent.errors import MismatchError
from noisystudent.pseudo_labels.selection.class_shares import Shares
from noisystudent.pseudo_labels.selection.copies import CopyAllocator
from noisystudent.pseudo_labels.selection.counts import BINS, Counts, Quota, bin_of, count_rows, limit_of, quota_for
from noisystudent.pseudo_labels.selection.cutoff import Cutoff, RowNumbers, find_cutoff, is_selected
from noisystudent.pseudo_labels.selection.foreign import foreign_level
from noisystudent.pseudo_labels.selection.parts import (
    BELOW_THRESHOLD,
    FOREIGN,
    NOT_BELOW,
    REASONS,
    SELECTED,
    PartSelection,
    Rows,
    read_rows,
    read_selection,
    write_selection,
)
from noisystudent.pseudo_labels.selection.results import SelectionSummary
from noisystudent.pseudo_labels.selection.settings import SelectionSettings
from noisystudent.pseudo_labels.selection.summary import SelectionStats

SUMMARY = "summary.json"


def select(
    folder: Path,
    parts: Sequence[Path],
    settings: SelectionSettings,
    *,
    classes: Sequence[str],
    round_number: int,
    seed: int,
    counts: Counts | None = None,
    shares: Shares | None = None,
) -> SelectionSummary:
    """Selects pseudo labels for training, and writes one selection part per prediction part plus ``summary.json``.

    The most confident rows of each class are selected, and the first of equally confident ones, so the result does not
    depend on how the rows are split into parts. The rows that get one copy more than others are drawn at random.

    Args:
        folder: where to write the parts of the selection and ``summary.json``.
        parts: paths of all prediction parts, in order.
        settings: the rule and its numbers; call ``resolve_auto`` first.
        classes: class names.
        round_number: the number of the round, from 1; only the curriculum depends on it.
        seed: the seed that draws copies.
        counts: the sum of ``count_rows`` over workers that share the parts; None counts the rows here.
        shares: the shares of the classes to aim at, [K]; None is the rule's own aim.

    Returns:
        The summary.

    Raises:
        MismatchError: ``counts`` are for other parts, classes or thresholds.
        ArtifactError: a part is damaged or was predicted for other classes.
    """
    level = foreign_level(parts) if settings.foreign == "drop" else 0.0
    bounds = {"threshold": settings.lowest, "below": settings.below}
    counts = counts or count_rows(parts, classes=len(classes), **bounds, least_typical=level)
    if (len(counts.eligible), counts.threshold, counts.below) != (len(classes), *bounds.values()):
        raise MismatchError(
            f"the counts are for {len(counts.eligible)} classes at threshold {counts.threshold} and below "
            f"{counts.below}, but there are {len(classes)} classes, selection.threshold is {settings.lowest} and "
            f"selection.below {settings.below}; count the rows again."
        )
    quota = quota_for(settings, counts, round_number, shares)
    limit = limit_of(settings.below)
    cutoff = find_cutoff(parts, counts.candidates, quota.row_count, limit=limit, least_typical=level)
    allocator = CopyAllocator(quota, seed, round_number)
    stats = SelectionStats(len(classes))
    rows = read_rows(parts, len(classes), level)
    write_selection(folder, _select_parts(rows, quota, cutoff, allocator, stats))
    if not np.array_equal(stats.selected, quota.row_count):
        raise MismatchError(
            f"the parts in {parts[0].parent} differ from those that were counted; run the command again."
        )
    summary = stats.summary(classes, counts.histogram, settings.rule, shares)
    write_result(folder / SUMMARY, summary)
    return summary


def _select_parts(
    parts: Iterable[Rows], quota: Quota, cutoff: Cutoff, allocator: CopyAllocator, stats: SelectionStats
) -> Iterator[PartSelection]:
    """The selection of each part, in order."""
    classes = len(quota.row_count)
    tie_numbers, selected_numbers = RowNumbers(classes), RowNumbers(classes)
    low, high, excess = (REASONS.index(name) for name in (BELOW_THRESHOLD, NOT_BELOW, quota.excess_reason))
    for rows in parts:
        selected = np.flatnonzero(is_selected(rows, cutoff, tie_numbers))
        label = rows.prediction[selected]
        copies = np.zeros(len(rows.bits), np.int64)
        copies[selected] = allocator.copies(label, selected_numbers(label))
        reason = np.where(rows.confidence < quota.min_confidence, low, excess).astype(np.int8)
        reason[rows.bits >= cutoff.limit] = high
        reason[selected] = REASONS.index(SELECTED)
        reason[rows.foreign] = REASONS.index(FOREIGN)
        stats.add(rows, copies, reason)
        yield PartSelection(rows.name, rows.groups, copies, reason)


def reuse(folder: Path, parts: Sequence[Path], earlier: Path, classes: Sequence[str]) -> SelectionSummary:
    """Selects the images that an earlier selection contains, with the labels of new predictions.

    The official code does this in later rounds: it selects the images once, and then only labels them again.

    Args:
        folder: where to write the parts of the selection and ``summary.json``.
        parts: paths of all parts of the new predictions, in order.
        earlier: the folder of the earlier selection.
        classes: class names.

    Returns:
        The summary.

    Raises:
        MismatchError: the earlier selection has other rows.
    """
    stats = SelectionStats(len(classes))
    histogram = np.zeros((len(classes), BINS + 1), np.int64)

    def part_selections() -> Iterator[PartSelection]:
        earlier_parts = read_selection(earlier, (path.name for path in parts))
        for rows, (copies, reason) in zip(read_rows(parts, len(classes)), earlier_parts, strict=True):
            if len(copies) != len(rows.bits):
                raise MismatchError(
                    f"{earlier / rows.name} has {len(copies)} rows, but the predictions have {len(rows.bits)}: the "
                    "earlier selection was made from other images; make it again."
                )
            np.add.at(histogram, (rows.prediction, bin_of(rows.confidence)), 1)
            stats.add(rows, copies, reason)
            yield PartSelection(rows.name, rows.groups, copies, reason)

    write_selection(folder, part_selections())
    summary = stats.summary(classes, histogram, "once")
    write_result(folder / SUMMARY, summary)
    return summary
