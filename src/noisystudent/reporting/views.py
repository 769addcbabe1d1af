"""What the page shows, worked out from a ``RunRecord``: charts, shortened tables, settings and origins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from noisystudent.display import charts, wording
from noisystudent.display.reliability import reliability_chart
from noisystudent.reporting.records import (
    ClassSelection,
    EvaluatedModel,
    Role,
    RoundResult,
    RunRecord,
    Scores,
    SelectionSummary,
    Summary,
    Verdict,
)

CLASSES_IN_TABLES = 50  # beyond this a table shows the ends that matter and says what it leaves out
CLASSES_IN_MATRIX = 20
PAIRS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class RoundView:
    """One round: its result and, where the folder has it, its selection with the classes to list."""

    result: RoundResult
    scores: Scores | None
    selection: SelectionSummary | None
    histogram: Markup | None
    classes: tuple[ClassSelection, ...]
    largest: int
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ClassScore:
    """The accuracy on one class; ``images`` is None where the confusion matrix is not known."""

    name: str
    accuracy: float | None
    images: int | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the confusion matrix; ``shade`` is the root of its share of the true class, 0 to 1."""

    count: int
    shade: float
    diagonal: bool


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """A true class taken for another; ``share`` is of the images of the true class."""

    truth: str
    prediction: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class StudentView:
    """Calibration, classes and confusion of the delivered student; absent parts are None or empty."""

    scores: Scores
    role: Role
    reliability: Markup | None
    confidence: Markup | None
    classes: tuple[ClassScore, ...]
    matrix: tuple[tuple[Cell, ...], ...] | None
    pairs: tuple[ConfusedPair, ...]


@dataclass(frozen=True, slots=True)
class SettingView:
    """One setting as it is typed, and where its value came from."""

    name: str
    value: str
    origin: str


def verdict_chart(verdict: Verdict) -> Markup | None:
    """The difference to the control with its interval, in points; None where it was not measured."""
    if verdict.difference is None or verdict.interval is None:
        return None
    low, high = verdict.interval
    return charts.interval_chart(
        100 * verdict.difference,
        100 * low,
        100 * high,
        title="Student minus control, with the 95% interval",
        x_label="difference in top-1 accuracy (percentage points)",
    )


def progress_chart(summary: Summary) -> Markup | None:
    """Accuracy from the teacher through the rounds, the control as a level; None without rounds or scores."""
    line_up = (summary.teacher, *summary.rounds)
    rolled_back = frozenset(float(place) for place, one in enumerate(summary.rounds, start=1) if one.rolled_back)
    series = [
        charts.Series(name, points, hollow=rolled_back)
        for name, points in (
            ("Test", _accuracies(line_up, "test")),
            ("Validation", _accuracies(line_up, "validation")),
            ("Pseudo labels", _pseudo_label_accuracies(summary, "pseudo_label_top1")),
            ("Selected pseudo labels", _pseudo_label_accuracies(summary, "selected_top1")),
        )
        if points
    ]
    if not summary.rounds or not series:
        return None
    role = summary.reporting_role()
    control = summary.control.scores(role) if summary.control else None
    if control is not None:
        series.append(charts.Series(f"Control ({role})", ((0.0, 100 * control.top1),), level=True))
    return charts.line_chart(
        series,
        title="Top-1 accuracy of the teacher and of every student",
        x_label="checkpoint",
        y_label="top-1 accuracy (%)",
        x_names=["teacher" if summary.teacher else "no teacher", *(one.name for one in summary.rounds)],
    )


def round_views(record: RunRecord) -> list[RoundView]:
    """The rounds in order."""
    role = record.summary.reporting_role()
    return [_round_view(one, record.selections.get(one.round), role) for one in record.summary.rounds]


def student_view(summary: Summary) -> StudentView | None:
    """The delivered student on test, or else on validation; None without held-out labels."""
    role = summary.reporting_role()
    scores = summary.student.scores(role)
    if role is None or scores is None:
        return None
    reliability = reliability_chart(scores.calibration, f"Reliability ({role})")
    confidence = None
    if reliability is not None:
        confidence = charts.histogram(
            [*(one.low for one in scores.calibration), scores.calibration[-1].high],
            [one.count for one in scores.calibration],
            title=f"How confident the student is ({role})",
            x_label="confidence (share, 0 to 1)",
            y_label="images",
        )
    small = len(summary.classes) <= CLASSES_IN_MATRIX
    return StudentView(
        scores=scores,
        role=role,
        reliability=reliability,
        confidence=confidence,
        classes=_class_scores(scores, summary.classes),
        matrix=_matrix(scores.confusion) if scores.confusion and small else None,
        pairs=tuple(confused_pairs(scores.confusion, summary)) if scores.confusion and not small else (),
    )


def confused_pairs(confusion: Sequence[Sequence[int]], summary: Summary) -> list[ConfusedPair]:
    """The most frequent confusions of two classes, most frequent first; at most 20."""
    found = [
        (amount, truth, prediction, amount / sum(row))
        for truth, row in enumerate(confusion)
        for prediction, amount in enumerate(row)
        if amount and truth != prediction
    ]
    found.sort(key=lambda one: (-one[0], one[1], one[2]))
    return [
        ConfusedPair(summary.class_name(truth), summary.class_name(prediction), amount, share)
        for amount, truth, prediction, share in found[:PAIRS_SHOWN]
    ]


def setting_views(settings: Mapping[str, object], origins: Mapping[str, str]) -> list[SettingView]:
    """All settings under their dotted names, each with where its value came from."""
    return [
        SettingView(name, wording.setting(value), origins.get(name, "not recorded"))
        for name, value in _flattened(settings)
    ]


def _flattened(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _accuracies(line_up: Sequence[EvaluatedModel | None], role: Role) -> tuple[tuple[float, float], ...]:
    return tuple(
        (float(place), 100 * scores.top1)
        for place, one in enumerate(line_up)
        if one is not None and (scores := one.scores(role)) is not None
    )


def _pseudo_label_accuracies(summary: Summary, name: str) -> tuple[tuple[float, float], ...]:
    return tuple(
        (float(place), 100 * share)
        for place, one in enumerate(summary.rounds, start=1)
        if (share := (one.pseudo_labels or {}).get(name)) is not None
    )


def _round_view(result: RoundResult, selection: SelectionSummary | None, role: Role | None) -> RoundView:
    classes = sorted(selection.per_class, key=lambda one: one.selected) if selection else []
    shown = classes[:CLASSES_IN_TABLES] if len(classes) > CLASSES_IN_TABLES else None
    listed = tuple(shown if shown is not None else (selection.per_class if selection else ()))
    histogram = None
    if selection and selection.confidence_histogram:
        histogram = charts.histogram(
            selection.confidence_histogram.edges,
            selection.confidence_histogram.counts,
            title=f"Confidence of the pseudo labels, round {result.round}",
            x_label="teacher's confidence (share, 0 to 1)",
            y_label="images",
        )
    return RoundView(
        result=result,
        scores=result.scores(role),
        selection=selection,
        histogram=histogram,
        classes=listed,
        largest=max((max(one.predicted, one.copies) for one in listed), default=0),
        facts=tuple(_round_facts(result)),
    )


def _round_facts(result: RoundResult) -> Iterator[tuple[str, str]]:
    truths = result.pseudo_labels or {}
    diagnostics = result.diagnostics or {}
    named = (
        ("Accuracy of all pseudo labels", wording.percent(truths.get("pseudo_label_top1"))),
        ("Accuracy of the selected ones", wording.percent(truths.get("selected_top1"))),
        ("Labeled as by the teacher before", wording.percent(diagnostics.get("agreement"))),
        ("Drift of class frequencies (0 same, 1 disjoint)", wording.number(diagnostics.get("class_drift"))),
        ("Mean confidence", wording.number(diagnostics.get("mean_confidence"))),
        ("Evenness of classes (1 even)", wording.number(diagnostics.get("class_balance"))),
    )
    yield from ((name, text) for name, text in named if text != wording.MISSING)


def _class_scores(scores: Scores, classes: Sequence[str]) -> tuple[ClassScore, ...]:
    images = dict(zip(classes, map(sum, scores.confusion or ()), strict=False))
    rows = [ClassScore(name, share, images.get(name)) for name, share in scores.per_class.items()]
    if len(rows) > CLASSES_IN_TABLES:
        rows.sort(key=lambda one: 2.0 if one.accuracy is None else one.accuracy)
    return tuple(rows[:CLASSES_IN_TABLES])


def _matrix(confusion: Sequence[Sequence[int]]) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        tuple(
            Cell(amount, math.sqrt(amount / max(sum(row), 1)), truth == prediction)
            for prediction, amount in enumerate(row)
        )
        for truth, row in enumerate(confusion)
    )
