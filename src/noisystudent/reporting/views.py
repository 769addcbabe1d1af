"""The content of the page, computed from a ``RunRecord``: charts, shortened tables, settings and origins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from noisystudent.display import charts, wording
from noisystudent.evaluation.calibration.reliability import reliability_chart
from noisystudent.evaluation.metrics.results import Scores
from noisystudent.evaluation.verdict import Verdict
from noisystudent.pseudo_labels.selection.parts import (
    BELOW_THRESHOLD,
    CUSTOM,
    FOREIGN,
    NOT_BELOW,
    NOT_YET,
    OVER_TARGET,
    SELECTED,
)
from noisystudent.pseudo_labels.selection.results import ClassSelection, SelectionSummary
from noisystudent.reporting.records import RunRecord
from noisystudent.results.run import EvaluatedModel, Role, RoundResult, RunSummary

CLASSES_IN_TABLES = 50  # with more classes, a table shows the ones that matter most and says so
CLASSES_IN_MATRIX = 20
PAIRS_SHOWN = 20

_REASONS = {
    SELECTED: "selected",
    BELOW_THRESHOLD: "confidence below the threshold",
    OVER_TARGET: "beyond the target of its class",
    NOT_YET: "waits for a later round",
    NOT_BELOW: "confidence above the limit",
    CUSTOM: "rejected by the custom rule",
    FOREIGN: "far from all labeled images",
}


@dataclass(frozen=True, slots=True)
class RoundView:
    """One round: its result, and its selection with the classes to list if the folder has it."""

    result: RoundResult
    scores: Scores | None
    selection: SelectionSummary | None
    histogram: Markup | None
    classes: tuple[ClassSelection, ...]
    largest: int
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ClassScore:
    """The accuracy on one class; ``images`` is None if the confusion matrix is unknown."""

    name: str
    accuracy: float | None
    images: int | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the confusion matrix; ``shade`` is the square root of its share of the true class, 0 to 1."""

    count: int
    shade: float
    diagonal: bool


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """A true class predicted as another; ``share`` is the fraction of the true class's images."""

    truth: str
    prediction: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class StudentView:
    """Calibration, classes and confusion of the delivered student; missing parts are None or empty."""

    scores: Scores
    role: Role
    reliability: Markup | None
    confidence: Markup | None
    classes: tuple[ClassScore, ...]
    matrix: tuple[tuple[Cell, ...], ...] | None
    pairs: tuple[ConfusedPair, ...]


@dataclass(frozen=True, slots=True)
class SettingView:
    """One setting as a user would type it, and the origin of its value."""

    name: str
    value: str
    origin: str


def verdict_chart(verdict: Verdict) -> Markup | None:
    """The difference from the control with its interval, in percentage points; None if it was not measured."""
    if verdict.difference is None or verdict.interval is None:
        return None
    low, high = verdict.interval
    return charts.interval_chart(
        100 * verdict.difference,
        100 * low,
        100 * high,
        title="Student minus labels-only training, 95% interval",
        x_label="difference in top-1 accuracy (percentage points)",
    )


def progress_chart(summary: RunSummary) -> Markup | None:
    """Accuracy of the teacher and of each round, with the control as a level; None without rounds or scores."""
    models = (summary.teacher, *summary.rounds)
    worse = frozenset(float(position) for position, student in enumerate(summary.rounds, start=1) if student.worse)
    series = [
        charts.Series(name, points, hollow=worse, color=color)
        for name, points, color in (
            ("Test", _accuracies(models, "test"), charts.STUDENT),
            ("Validation", _accuracies(models, "validation"), 3),
            ("Pseudo labels", _pseudo_label_accuracies(summary, "pseudo_label_top1"), 4),
            ("Selected pseudo labels", _pseudo_label_accuracies(summary, "selected_top1"), 5),
        )
        if points
    ]
    if not summary.rounds or not series:
        return None
    role = summary.reporting_role()
    control = summary.control.scores(role) if summary.control else None
    if control is not None:
        series.append(
            charts.Series(f"Control ({role})", ((0.0, 100 * control.top1),), level=True, color=charts.CONTROL)
        )
    return charts.line_chart(
        series,
        title="Top-1 accuracy of the teacher and of every student",
        x_label="checkpoint",
        y_label="top-1 accuracy (%)",
        x_names=["teacher" if summary.teacher else "no teacher", *(student.name for student in summary.rounds)],
    )


def reason_text(reason: str) -> str:
    """The words for a reason of a selection, such as ``waits for a later round`` for ``not-yet``."""
    return _REASONS.get(reason, reason)


@dataclass(frozen=True, slots=True)
class ClassShareView:
    """The shares of classes that selections aimed at: ``title`` says of which rounds; rows are name and two shares."""

    title: str
    note: str
    rows: tuple[tuple[str, float, float], ...]
    left_out: int


def class_share_views(record: RunRecord) -> tuple[ClassShareView, ...]:
    """The class shares of each round that has them, the classes that differ most from the labels first."""
    shown = []
    for number, found in record.class_shares.items():
        rows = [(name, found.reference.get(name, 0.0), share) for name, share in found.shares.items()]
        rows.sort(key=lambda row: -abs(row[2] - row[1]))
        note = (
            "They were given." if found.p_value is None else f"They were estimated ({wording.p_value(found.p_value)})."
        )
        title = f"Class shares of round {number}" if number else "Class shares of all rounds"
        left_out = max(0, len(rows) - CLASSES_IN_TABLES)
        shown.append(ClassShareView(title, note, tuple(rows[:CLASSES_IN_TABLES]), left_out))
    return tuple(shown)


def online_method(settings: Mapping[str, object]) -> str:
    """The method of the online student among the settings of a run; empty where an older run has none."""
    section = settings.get("online")
    return str(section.get("method", "")) if isinstance(section, Mapping) else ""


def online_answers(settings: Mapping[str, object]) -> str:
    """Whose answers taught the online student of a run with these settings, in words."""
    section = settings.get("online")
    teacher = section.get("teacher") if isinstance(section, Mapping) else "auto"
    averaged = teacher == "average" or (teacher == "auto" and online_method(settings) == "mean_teacher")
    return "the answers of its averaged weights" if averaged else "its own answers"


def pretraining_method(settings: Mapping[str, object]) -> str:
    """The method by which a run pretrained its models; empty where it did not, and in an older run."""
    section = settings.get("pretraining")
    method = str(section.get("method", "none")) if isinstance(section, Mapping) else "none"
    return "" if method == "none" else method


def round_views(record: RunRecord) -> list[RoundView]:
    """The content of each round, in order."""
    role = record.summary.reporting_role()
    return [_round_view(result, record.selections.get(result.round), role) for result in record.summary.rounds]


def student_view(summary: RunSummary) -> StudentView | None:
    """The delivered student on the test source, or else on validation; None without held-out labels."""
    role = summary.reporting_role()
    scores = summary.student.scores(role)
    if role is None or scores is None:
        return None
    reliability = reliability_chart(scores.calibration, f"Reliability ({role})")
    confidence = None
    if reliability is not None:
        confidence = charts.histogram(
            [*(interval.low for interval in scores.calibration), scores.calibration[-1].high],
            [interval.count for interval in scores.calibration],
            title=f"Confidence of the student ({role})",
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


def confused_pairs(confusion: Sequence[Sequence[int]], summary: RunSummary) -> list[ConfusedPair]:
    """The most frequent confusions of two classes, most frequent first.

    Args:
        confusion: counts by true class (rows) and predicted class (columns), int [K, K].
        summary: the summary of the run, for the class names.

    Returns:
        At most 20 pairs.
    """
    counts = [
        (count, truth, prediction, count / sum(row))
        for truth, row in enumerate(confusion)
        for prediction, count in enumerate(row)
        if count and truth != prediction
    ]
    counts.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    return [
        ConfusedPair(summary.class_name(truth), summary.class_name(prediction), count, share)
        for count, truth, prediction, share in counts[:PAIRS_SHOWN]
    ]


def setting_views(settings: Mapping[str, object], origins: Mapping[str, str]) -> list[SettingView]:
    """All settings by dotted name, with the origin of each value."""
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


def _accuracies(models: Sequence[EvaluatedModel | None], role: Role) -> tuple[tuple[float, float], ...]:
    return tuple(
        (float(position), 100 * scores.top1)
        for position, model in enumerate(models)
        if model is not None and (scores := model.scores(role)) is not None
    )


def _pseudo_label_accuracies(summary: RunSummary, name: str) -> tuple[tuple[float, float], ...]:
    return tuple(
        (float(position), 100 * share)
        for position, student in enumerate(summary.rounds, start=1)
        if (share := (student.pseudo_labels or {}).get(name)) is not None
    )


def _round_view(result: RoundResult, selection: SelectionSummary | None, role: Role | None) -> RoundView:
    classes = selection.per_class if selection else ()
    if len(classes) > CLASSES_IN_TABLES:
        classes = tuple(sorted(classes, key=lambda entry: entry.selected)[:CLASSES_IN_TABLES])
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
        classes=classes,
        largest=max((max(entry.predicted, entry.copies) for entry in classes), default=0),
        facts=tuple(_round_facts(result)),
    )


def _round_facts(result: RoundResult) -> Iterator[tuple[str, str]]:
    accuracies = result.pseudo_labels or {}
    diagnostics = result.diagnostics or {}
    named = (
        ("Accuracy of all pseudo labels", wording.percent(accuracies.get("pseudo_label_top1"))),
        ("Accuracy of the selected pseudo labels", wording.percent(accuracies.get("selected_top1"))),
        ("Same label as in the round before", wording.percent(diagnostics.get("agreement"))),
        ("Drift of class frequencies (0 is equal, 1 is disjoint)", wording.number(diagnostics.get("class_drift"))),
        ("Mean confidence", wording.number(diagnostics.get("mean_confidence"))),
        ("Class balance (1 is even)", wording.number(diagnostics.get("class_balance"))),
    )
    yield from ((name, text) for name, text in named if text != wording.MISSING)


def _class_scores(scores: Scores, classes: Sequence[str]) -> tuple[ClassScore, ...]:
    images = dict(zip(classes, map(sum, scores.confusion or ()), strict=False))
    rows = [ClassScore(name, share, images.get(name)) for name, share in scores.per_class.items()]
    if len(rows) > CLASSES_IN_TABLES:
        rows.sort(key=lambda row: 2.0 if row.accuracy is None else row.accuracy)
    return tuple(rows[:CLASSES_IN_TABLES])


def _matrix(confusion: Sequence[Sequence[int]]) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        tuple(
            Cell(count, math.sqrt(count / max(sum(row), 1)), truth == prediction)
            for prediction, count in enumerate(row)
        )
        for truth, row in enumerate(confusion)
    )
