"""Confidence histograms of every class, which add up over parts and workers, and the quotas computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisystudent.pseudo_labels.selection.class_shares import Shares
from noisystudent.pseudo_labels.selection.parts import NO_LIMIT, NOT_YET, OVER_TARGET, Floats, Ints, read_rows
from noisystudent.pseudo_labels.selection.settings import SelectionSettings

BINS = 4096


@dataclass(frozen=True, eq=False)
class Counts:
    """Row counts per class of some parts; the sum over workers that counted different parts counts all parts.

    ``histogram`` is int64 [K, BINS + 1]: bin b holds the confidences from b / BINS up to but not including
    (b + 1) / BINS, and the last bin holds 1 alone. ``eligible`` is int64 [K]: the rows whose confidence reaches
    ``threshold`` and is below ``below``, where 1 is no bound. ``beyond`` is int64 [K]: the rows that are not below it.
    """

    histogram: Ints
    eligible: Ints
    beyond: Ints
    threshold: float
    below: float = 1.0

    def __add__(self, other: Counts) -> Counts:
        if (self.threshold, self.below) != (other.threshold, other.below):
            raise ValueError(
                f"counts with the thresholds {self.threshold} and {other.threshold}, below {self.below} and "
                f"{other.below}, do not add up; count all parts with one threshold and one upper bound."
            )
        return Counts(
            self.histogram + other.histogram,
            self.eligible + other.eligible,
            self.beyond + other.beyond,
            self.threshold,
            self.below,
        )

    @property
    def candidates(self) -> Ints:
        """The histogram of the rows below the upper bound alone."""
        histogram, last = self.histogram.copy(), int(bin_of(np.array([self.below], np.float32))[0])
        inside = self.beyond - histogram[:, last + 1 :].sum(axis=1)
        histogram[:, last] -= inside
        if self.below < 1:
            histogram[:, last + 1 :] = 0
        return histogram

    @property
    def rows(self) -> Ints:
        """The number of rows of each class, int64 [K]."""
        rows: Ints = self.histogram.sum(axis=1)
        return rows


def count_rows(
    parts: Sequence[Path], *, classes: int, threshold: float, below: float = 1.0, least_typical: float = 0.0
) -> Counts:
    """Counts the rows of prediction parts; workers may each count some of the parts and add their counts.

    Args:
        parts: paths of prediction parts.
        classes: the number of classes.
        threshold: the confidence from which on a row is eligible, 0 to 1.
        below: the confidence from which on a row is no longer eligible, above 0, to 1; 1: no bound.
        least_typical: rows with a typicality below it are foreign and do not count, 0 to 1; 0 counts all rows.

    Returns:
        The counts of these parts.

    Raises:
        ArtifactError: a part is damaged or was predicted for other classes.
    """
    histogram = np.zeros((classes, BINS + 1), np.int64)
    eligible, beyond, limit = np.zeros(classes, np.int64), np.zeros(classes, np.int64), limit_of(below)
    flat = histogram.reshape(-1)
    for rows in read_rows(parts, classes, least_typical):
        own = ~rows.foreign
        np.add.at(flat, rows.prediction[own] * (BINS + 1) + bin_of(rows.confidence[own]), 1)
        inside = rows.bits < limit
        eligible += np.bincount(rows.prediction[own & inside & (rows.confidence >= threshold)], minlength=classes)
        beyond += np.bincount(rows.prediction[own & ~inside], minlength=classes)
    return Counts(histogram, eligible, beyond, threshold, below)


def limit_of(below: float) -> int:
    """The bits of the float32 ``below``, which those of an eligible confidence are under; 1 is no bound."""
    return int(np.float32(below).view(np.uint32)) if below < 1 else NO_LIMIT


def bin_of(confidence: Floats) -> Ints:
    """The bin of each confidence from 0 to 1, int64 [N]; exact, because ``BINS`` is a power of two."""
    return (confidence * np.float32(BINS)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Quota:
    """The number of rows to select from each class, and the number of training samples to make of them.

    ``row_count`` [K]: the most confident rows to select; ``target_count`` [K]: training samples, copies included;
    ``min_confidence``: no row below it is selected; ``excess_reason``: the reason for rejecting rows that are confident
    enough but beyond the quota.
    """

    row_count: Ints
    target_count: Ints
    min_confidence: float
    excess_reason: str


def quota_for(settings: SelectionSettings, counts: Counts, round_number: int, shares: Shares | None = None) -> Quota:
    """The quota of every class, from its number of rows and the number of them that reach the threshold.

    ``shares`` [K] are those of the classes that the selection aims at; None is the rule's own aim. A class with fewer
    rows than its share gets all of them.
    """
    if settings.rule == "curriculum":
        assert settings.fraction != "auto", "call resolve_auto first"
        fraction = min(1.0, settings.fraction * round_number)
        wanted = counts.eligible if shares is None else shares * counts.eligible.sum()
        row_count = np.minimum(np.ceil(fraction * wanted - 1e-9).astype(np.int64), counts.eligible)
        return Quota(row_count, row_count, settings.lowest, NOT_YET if shares is None else OVER_TARGET)
    eligible = counts.eligible
    if settings.per_class == "none":
        return Quota(eligible, eligible, settings.lowest, OVER_TARGET)
    # The mean keeps the number of training samples as large as the number of rows that reach the threshold.
    mean = eligible.mean() if settings.per_class == "auto" else settings.per_class
    target = np.ceil(mean * (1.0 if shares is None else shares * len(shares)) - 1e-9).astype(np.int64)
    row_count = np.minimum(eligible, target)
    return Quota(row_count, np.minimum(target, row_count * settings.max_copies), settings.lowest, OVER_TARGET)
