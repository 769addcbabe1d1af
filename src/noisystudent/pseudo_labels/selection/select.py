"""Selection itself: predictions in, a selection out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from noisystudent.artifacts.folder import write_json
from noisystudent.errors import MismatchError
from noisystudent.pseudo_labels.selection.copies import Copies
from noisystudent.pseudo_labels.selection.counts import BINS, Counts, Quota, bin_of, count_rows, quota_for
from noisystudent.pseudo_labels.selection.cutoff import Cutoff, Numbering, find_cut, kept_rows
from noisystudent.pseudo_labels.selection.parts import (
    BELOW_THRESHOLD,
    REASONS,
    SELECTED,
    PartSelection,
    read_choices,
    read_rows,
    write_choices,
)
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
) -> dict[str, object]:
    """Chooses training rows from prediction parts and writes a selection part for each, plus ``summary.json``.

    Of each class the most confident are taken, of equally confident ones the first, so the result is the same however
    the rows were cut into parts. Copies beyond the first go to rows drawn at random (``seed``). ``counts`` is the sum
    of ``count_rows`` over workers that share the parts; without it they are counted here. Returns the summary. Raises
    ``MismatchError`` when the parts are not those that were counted.
    """
    counts = counts or count_rows(parts, classes=len(classes), threshold=settings.threshold)
    if (len(counts.eligible), counts.threshold) != (len(classes), settings.threshold):
        raise MismatchError(
            f"the counts are of {len(counts.eligible)} classes at threshold {counts.threshold}, but there are "
            f"{len(classes)} classes and selection.threshold is {settings.threshold}; count the rows again."
        )
    quota = quota_for(settings, counts, round_number)
    cutoff = find_cut(parts, counts.histogram, quota.take)
    copies = Copies(quota, seed, round_number)
    stats = SelectionStats(len(classes))
    write_choices(folder, _choices(parts, quota, cutoff, copies, stats))
    if not np.array_equal(stats.selected, quota.take):
        raise MismatchError(
            f"the parts in {parts[0].parent} are not those that were counted, or changed since; run the command again."
        )
    summary = stats.summary(classes, counts.histogram, settings.rule)
    write_json(folder / SUMMARY, summary)
    return summary


def _choices(
    parts: Sequence[Path], quota: Quota, cutoff: Cutoff, copies: Copies, stats: SelectionStats
) -> Iterator[PartSelection]:
    """What is chosen of each part."""
    of_tied, of_kept = Numbering(len(quota.take)), Numbering(len(quota.take))
    selected, below, excess = (REASONS.index(reason) for reason in (SELECTED, BELOW_THRESHOLD, quota.excess))
    for rows in read_rows(parts, len(quota.take)):
        kept = np.flatnonzero(kept_rows(rows, cutoff, of_tied))
        label = rows.prediction[kept]
        chosen = np.zeros(len(rows.bits), np.int64)
        chosen[kept] = copies.of(label, of_kept(label))
        reason = np.where(rows.confidence < quota.floor, below, excess).astype(np.int8)
        reason[kept] = selected
        stats.add(rows, chosen, reason)
        yield PartSelection(rows.name, rows.groups, chosen, reason)


def reuse(folder: Path, parts: Sequence[Path], chosen: Path, classes: Sequence[str]) -> dict[str, object]:
    """Takes the images that an earlier selection (folder ``chosen``) took, with the new predictions' labels.

    This is the official code's later rounds: the images are chosen once, then only labeled again. Raises
    ``MismatchError`` when the earlier selection has other rows.
    """
    stats = SelectionStats(len(classes))
    histogram = np.zeros((len(classes), BINS + 1), np.int64)

    def choices() -> Iterator[PartSelection]:
        earlier = read_choices(chosen, (path.name for path in parts))
        for rows, (copies, reason) in zip(read_rows(parts, len(classes)), earlier, strict=True):
            if len(copies) != len(rows.bits):
                raise MismatchError(
                    f"{chosen / rows.name} has {len(copies)} rows, but the predictions have {len(rows.bits)}: the "
                    "earlier selection is of other images; make it again."
                )
            np.add.at(histogram, (rows.prediction, bin_of(rows.confidence)), 1)
            stats.add(rows, copies, reason)
            yield PartSelection(rows.name, rows.groups, copies, reason)

    write_choices(folder, choices())
    summary = stats.summary(classes, histogram, "once")
    write_json(folder / SUMMARY, summary)
    return summary
