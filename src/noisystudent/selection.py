"""What training takes from a teacher's predictions: how many copies of each row, and why the others are left.

Two rules:

- ``threshold`` (Xie et al. 2020, section 3.2): keep rows whose confidence reaches the threshold; per predicted class
  at most a target number, the most confident first; a class below the target is filled up with copies.
- ``curriculum`` (after Cascante-Bonilla et al. 2021, "Curriculum Labeling"): in round r keep the most confident
  r x fraction of the rows of every predicted class, so that early mistakes never grow into a class of their own.

Both are decided in two passes over the parts: the first adds up a histogram of confidence per class, which merges
over parts and machines; the second settles the one bin in which a class's last place falls by an exact sort. So
memory does not grow with the number of rows. NumPy and pyarrow only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from noisystudent.artifacts import replacing, write_json
from noisystudent.randomness import generator
from noisystudent.settings import MANY_LABELS, Settings

BINS = 4096
CAREFUL_FRACTION = 0.2  # where labels are few, what a teacher is less sure of waits until it knows more

SELECTED = "selected"
BELOW_THRESHOLD = "below-threshold"
OVER_TARGET = "over-target"
NOT_YET = "not-yet"

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


class SelectionSettings(Settings):
    """How pseudo labels are chosen for training."""

    rule: Literal["curriculum", "threshold"] = Field(
        "curriculum", description="curriculum: a growing, class-balanced fraction; threshold: the paper's rule"
    )
    fraction: Literal["auto"] | Annotated[float, Field(gt=0, le=1)] = Field(
        "auto",
        description="curriculum: this fraction of every predicted class is added each round; auto: "
        f"{CAREFUL_FRACTION}, but all from round 1 on where every class has at least {MANY_LABELS} labels",
    )
    threshold: Annotated[float, Field(ge=0, le=1)] = Field(
        0.3, description="threshold: the least confidence that a pseudo label needs"
    )
    per_class: Literal["auto", "none"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="threshold: pictures per class, filled up with copies; auto: the mean of all; none: as they come",
    )
    max_copies: Annotated[int, Field(ge=1)] = Field(
        10, description="threshold: no picture is used more often than this to fill its class"
    )
    once: bool = Field(False, description="choose the pictures in round 1 only; later rounds give them new labels")

    def settled(self, labels_a_class: int) -> SelectionSettings:
        """The same with ``fraction`` a number, for classes of at least ``labels_a_class`` labels."""
        if self.fraction != "auto":
            return self
        return self.model_copy(update={"fraction": 1.0 if labels_a_class >= MANY_LABELS else CAREFUL_FRACTION})


@dataclass(frozen=True)
class Quota:
    """How much one class may give: its ``take`` most confident rows, spread over ``places`` training places."""

    take: Ints  # [K]
    places: Ints  # [K]
    floor: float  # confidence below which nothing is taken
    excess: str  # the reason written beside rows that are confident enough but beyond the quota


def confidence_histogram(prediction: Ints, confidence: Floats, classes: int) -> Ints:
    """Counts rows per class and confidence bin: int64 [classes, BINS + 1]; sums of parts give the whole."""
    flat = prediction * (BINS + 1) + _bin(confidence)
    return np.bincount(flat, minlength=classes * (BINS + 1)).reshape(classes, BINS + 1)


def _bin(confidence: Floats) -> Ints:
    return np.clip((confidence.astype(np.float64) * BINS), 0, BINS).astype(np.int64)


def quota_for(settings: SelectionSettings, counts: Ints, eligible: Ints, round_number: int) -> Quota:
    """The quota of every class, from how many rows it has and how many of them reach the threshold."""
    if settings.rule == "curriculum":
        assert settings.fraction != "auto", "settle the settings first"
        share = min(1.0, settings.fraction * round_number)
        take = np.ceil(share * counts - 1e-9).astype(np.int64)
        return Quota(take, take, 0.0, NOT_YET)
    if settings.per_class == "none":
        return Quota(eligible, eligible, settings.threshold, OVER_TARGET)
    # "auto" is the mean, so that the whole stays as large as what the teacher was sure of.
    target = int(np.ceil(eligible.mean())) if settings.per_class == "auto" else settings.per_class
    take = np.minimum(eligible, target)
    return Quota(take, np.minimum(target, take * settings.max_copies), settings.threshold, OVER_TARGET)


@dataclass(frozen=True)
class _Cut:
    """A class keeps all rows above ``bin`` and, within it, those up to the last place, by confidence and row."""

    bin: Ints  # [K]
    last: list[tuple[float, int]]  # per class: (-confidence, row) of the last row that is kept


def select(
    folder: Path,
    parts: Sequence[Path],
    settings: SelectionSettings,
    *,
    classes: Sequence[str],
    round_number: int,
    seed: int,
) -> dict[str, object]:
    """Chooses training rows from prediction parts and writes a selection part for each, plus ``summary.json``.

    Rows keep their order and their part. Equal confidence is settled by row order, so the result is the same however
    the parts were made. Copies beyond the first go to rows drawn at random (``seed``). Returns the summary.
    """
    histogram = np.zeros((len(classes), BINS + 1), np.int64)
    eligible = np.zeros(len(classes), np.int64)
    for table, _ in _read(parts):
        prediction, confidence = _columns(table)
        histogram += confidence_histogram(prediction, confidence, len(classes))
        passed = confidence >= settings.threshold
        eligible += np.bincount(prediction[passed], minlength=len(classes))
    quota = quota_for(settings, histogram.sum(axis=1), eligible, round_number)
    cut = _find_cut(parts, histogram, quota)
    draw = _copies(quota, seed, round_number)

    tally = _Tally(len(classes))
    for number, (table, first_row) in enumerate(_read(parts)):
        prediction, confidence = _columns(table)
        kept = _kept(prediction, confidence, first_row, cut, quota)
        copies = draw(prediction, kept)
        reason = np.where(kept, SELECTED, np.where(confidence < quota.floor, BELOW_THRESHOLD, quota.excess))
        tally.add(prediction, confidence, kept, copies, reason)
        _write_part(folder / f"part-{number:05d}.parquet", table, copies, reason)
    summary = tally.summary(classes, histogram, settings)
    write_json(folder / "summary.json", summary)
    return summary


def reuse(folder: Path, parts: Sequence[Path], chosen: Path, classes: Sequence[str]) -> dict[str, object]:
    """Takes the pictures that an earlier selection (folder ``chosen``) took, with the new predictions' labels.

    This is the official code's later rounds: the pictures are chosen once, then only labeled again.
    """
    tally = _Tally(len(classes))
    histogram = np.zeros((len(classes), BINS + 1), np.int64)
    for number, (table, _) in enumerate(_read(parts)):
        prediction, confidence = _columns(table)
        before = pq.read_table(chosen / f"part-{number:05d}.parquet")
        copies = before["copies"].to_numpy().astype(np.int64)
        reason = before["reason"].to_numpy(zero_copy_only=False)
        histogram += confidence_histogram(prediction, confidence, len(classes))
        tally.add(prediction, confidence, copies > 0, copies, reason)
        _write_part(folder / f"part-{number:05d}.parquet", table, copies, reason)
    summary = tally.summary(classes, histogram, None)
    write_json(folder / "summary.json", summary)
    return summary


def _read(parts: Sequence[Path]) -> Iterator[tuple[pa.Table, int]]:
    """Yields each part with the number of rows before it."""
    first_row = 0
    for path in parts:
        table = pq.read_table(path, columns=["key", "prediction", "confidence"])
        yield table, first_row
        first_row += table.num_rows


def _columns(table: pa.Table) -> tuple[Ints, Floats]:
    return table["prediction"].to_numpy().astype(np.int64), table["confidence"].to_numpy().astype(np.float32)


def _find_cut(parts: Sequence[Path], histogram: Ints, quota: Quota) -> _Cut:
    from_top = histogram[:, ::-1].cumsum(axis=1)[:, ::-1]  # rows in this bin or above
    classes = len(histogram)
    reaches = from_top >= np.maximum(quota.take, 1)[:, None]
    bins = np.where(reaches.any(axis=1), BINS - reaches[:, ::-1].argmax(axis=1), 0)
    above = from_top[np.arange(classes), bins] - histogram[np.arange(classes), bins]
    inside: list[list[tuple[float, int]]] = [[] for _ in range(classes)]
    for table, first_row in _read(parts):
        prediction, confidence = _columns(table)
        for row in np.flatnonzero(_bin(confidence) == bins[prediction]):
            inside[prediction[row]].append((-float(confidence[row]), first_row + int(row)))
    last = []
    for label, rows in enumerate(inside):
        wanted = int(quota.take[label] - above[label])
        last.append(sorted(rows)[wanted - 1] if quota.take[label] and wanted > 0 else (-np.inf, -1))
    return _Cut(bins, last)


def _kept(prediction: Ints, confidence: Floats, first_row: int, cut: _Cut, quota: Quota) -> npt.NDArray[np.bool_]:
    bins = _bin(confidence)
    last_confidence = -np.array([pair[0] for pair in cut.last])[prediction]
    last_row = np.array([pair[1] for pair in cut.last])[prediction]
    row = first_row + np.arange(len(prediction))
    inside = (confidence > last_confidence) | ((confidence == last_confidence) & (row <= last_row))
    kept = (bins > cut.bin[prediction]) | ((bins == cut.bin[prediction]) & inside)
    allowed: npt.NDArray[np.bool_] = kept & (quota.take[prediction] > 0) & (confidence >= quota.floor)
    return allowed


def _copies(quota: Quota, seed: int, round_number: int) -> Callable[[Ints, npt.NDArray[np.bool_]], Ints]:
    """A function that spreads each class's places over its kept rows, part after part.

    Every kept row gets places // take copies; the rest of the places goes to rows drawn without replacement, one
    decision a row in order (selection sampling, Knuth 3.4.2 S), so that no list of rows is needed.
    """
    rows_left = quota.take.copy()
    extra_left = quota.places - quota.take * (quota.places // np.maximum(quota.take, 1))
    random = generator(seed, "copies", round_number)

    def draw(prediction: Ints, kept: npt.NDArray[np.bool_]) -> Ints:
        copies = np.zeros(len(prediction), np.int64)
        for row in np.flatnonzero(kept):
            label = prediction[row]
            lucky = random.random() * rows_left[label] < extra_left[label]
            copies[row] = quota.places[label] // quota.take[label] + lucky
            extra_left[label] -= lucky
            rows_left[label] -= 1
        return copies

    return draw


def _write_part(path: Path, table: pa.Table, copies: Ints, reason: npt.NDArray[np.str_]) -> None:
    table = table.append_column("copies", pa.array(copies.astype(np.uint16)))
    table = table.append_column("reason", pa.array(reason.astype(str).tolist()).dictionary_encode())
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


class _Tally:
    """Adds up what a selection took and left, per class and per reason."""

    def __init__(self, classes: int) -> None:
        self.selected = np.zeros(classes, np.int64)
        self.copies = np.zeros(classes, np.int64)
        self.lowest = np.full(classes, np.inf)
        self.reasons: dict[str, int] = {}

    def add(
        self,
        prediction: Ints,
        confidence: Floats,
        kept: npt.NDArray[np.bool_],
        copies: Ints,
        reason: npt.NDArray[np.str_],
    ) -> None:
        self.selected += np.bincount(prediction[kept], minlength=len(self.selected))
        self.copies += np.bincount(prediction, weights=copies, minlength=len(self.copies)).astype(np.int64)
        np.minimum.at(self.lowest, prediction[kept], confidence[kept])
        for name, count in zip(*np.unique(reason.astype(str), return_counts=True), strict=True):
            self.reasons[str(name)] = self.reasons.get(str(name), 0) + int(count)

    def summary(self, classes: Sequence[str], histogram: Ints, settings: SelectionSettings | None) -> dict[str, object]:
        predicted = histogram.sum(axis=1)
        per_class = [
            {
                "class": name,
                "predicted": int(predicted[i]),
                "selected": int(self.selected[i]),
                "copies": int(self.copies[i]),
                "threshold": round(float(self.lowest[i]), 6) if self.selected[i] else None,
            }
            for i, name in enumerate(classes)
        ]
        coarse = histogram[:, :BINS].sum(axis=0).reshape(32, -1).sum(axis=1)
        coarse[-1] += histogram[:, BINS].sum()
        return {
            "rule": settings.rule if settings else "once",
            "rows": int(predicted.sum()),
            "selected": int(self.selected.sum()),
            "copies": int(self.copies.sum()),
            "per_class": per_class,
            "reasons": self.reasons,
            "confidence_histogram": {"edges": [i / 32 for i in range(33)], "counts": coarse.tolist()},
            "warnings": _warnings(classes, self.selected, self.copies),
        }


def _warnings(classes: Sequence[str], selected: Ints, copies: Ints) -> list[str]:
    """Names the classes that got nothing, or far less than the others even with copies."""
    typical = float(np.median(copies))
    lines = []
    for name, count, places in zip(classes, selected, copies, strict=True):
        if count == 0:
            lines.append(f"class {name!r}: no pseudo label was selected; the student sees only its labeled pictures")
        elif places < typical / 4:
            lines.append(f"class {name!r}: only {count} pseudo labels ({places} with copies; {typical:.0f} is typical)")
    return lines
