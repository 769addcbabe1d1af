"""How many rows each class has at each confidence: what parts say adds up to what the whole says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisystudent.pseudo_labels.selection.parts import NOT_YET, OVER_TARGET, Floats, Ints, read_rows
from noisystudent.pseudo_labels.selection.settings import SelectionSettings

BINS = 4096


@dataclass(frozen=True, eq=False)
class Counts:
    """Rows per class, of some parts; the sum over workers that counted different parts is that of all parts.

    ``histogram`` is int64 [K, BINS + 1]: bin b holds confidences from b / BINS up to below (b + 1) / BINS, the last
    one 1 alone. ``eligible`` is int64 [K]: rows whose confidence reaches ``threshold``.
    """

    histogram: Ints
    eligible: Ints
    threshold: float

    def __add__(self, other: Counts) -> Counts:
        if self.threshold != other.threshold:
            raise ValueError(f"counted with thresholds {self.threshold} and {other.threshold}: they do not add up")
        return Counts(self.histogram + other.histogram, self.eligible + other.eligible, self.threshold)

    @property
    def rows(self) -> Ints:
        """Rows of each class: int64 [K]."""
        rows: Ints = self.histogram.sum(axis=1)
        return rows


def count_rows(parts: Sequence[Path], *, classes: int, threshold: float) -> Counts:
    """Counts the rows of prediction parts; workers may each count some, and add."""
    histogram = np.zeros((classes, BINS + 1), np.int64)
    eligible = np.zeros(classes, np.int64)
    flat = histogram.reshape(-1)
    for rows in read_rows(parts, classes):
        np.add.at(flat, rows.prediction * (BINS + 1) + bin_of(rows.confidence), 1)
        eligible += np.bincount(rows.prediction[rows.confidence >= threshold], minlength=classes)
    return Counts(histogram, eligible, threshold)


def bin_of(confidence: Floats) -> Ints:
    """The bin of each confidence from 0 to 1: int64 [N]; exact, for BINS is a power of two."""
    return (confidence * np.float32(BINS)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Quota:
    """How much one class may give: its ``take`` most confident rows, spread over ``places`` training places."""

    take: Ints  # [K]
    places: Ints  # [K]
    floor: float  # confidence below which nothing is taken
    excess: str  # the reason written beside rows that are confident enough but beyond the quota


def quota_for(settings: SelectionSettings, counts: Counts, round_number: int) -> Quota:
    """The quota of every class, from how many rows it has and how many of them reach the threshold."""
    if settings.rule == "curriculum":
        assert settings.fraction != "auto", "settle the settings first"
        share = min(1.0, settings.fraction * round_number)
        take = np.ceil(share * counts.rows - 1e-9).astype(np.int64)
        return Quota(take, take, 0.0, NOT_YET)
    eligible = counts.eligible
    if settings.per_class == "none":
        return Quota(eligible, eligible, settings.threshold, OVER_TARGET)
    # "auto" is the mean, so that the whole stays as large as what the teacher was sure of.
    target = int(np.ceil(eligible.mean())) if settings.per_class == "auto" else settings.per_class
    take = np.minimum(eligible, target)
    return Quota(take, np.minimum(target, take * settings.max_copies), settings.threshold, OVER_TARGET)
