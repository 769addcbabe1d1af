"""The first screen of a page: its chart, the command to use the model, four cards, and the links to all sections."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from noisystudent.display import wording
from noisystudent.display.gain_chart import ClassGain, gain_chart
from noisystudent.display.round_chart import Step, round_chart
from noisystudent.reporting.advice import weakest_class
from noisystudent.reporting.distilled import distilled_headline, ratios
from noisystudent.reporting.headline import Headline, headline, is_distillation, judged_model
from noisystudent.reporting.records import RunRecord

GAINS_SHOWN = 20
FINDINGS = {
    "label-issues": "Labels",
    "gains": "Gains",
    "advice": "What next",
    "won-lost": "Won and lost",
    "map": "Map",
    "out-of-class": "No class",
    "label-next": "Label next",
    "label-for-test": "For a test",
}
DETAILS = {
    "scores": "Scores",
    "robustness": "Robustness",
    "resolution": "Resolution",
    "progress": "",
    "strength": "Noise",
    "rounds": "Rounds",
    "class-shares": "Class shares",
    "calibration": "Calibration",
    "classes": "Classes",
    "mistakes": "Mistakes",
    "examples": "Pseudo labels",
    "left-out": "Left out",
    "settings": "Settings",
    "cost": "Cost",
    "start": "Start",
    "repeat": "Repeat the run",
}
"""The sections in order: anchors, and words of the links."""


@dataclass(frozen=True, slots=True)
class Card:
    """A number that jumps to its section; ``anchor`` is empty where there is none."""

    anchor: str
    number: str
    words: str
    note: str


@dataclass(frozen=True, slots=True)
class GainView:
    """The classes that changed most, with how many are shown and left out."""

    chart: Markup
    shown: int
    left_out: int


def first_words(record: RunRecord) -> Headline:
    """What happened, in words and numbers: of a run or a distillation."""
    if is_distillation(record.summary):
        return distilled_headline(record.summary)
    unlabeled = record.facts.sources.get("unlabeled")
    for_test = len(record.findings.label_for_test) if record.findings else 0
    return headline(record.summary, unlabeled.images if unlabeled else None, record.evidence, for_test)


def first_chart(record: RunRecord) -> Markup | None:
    """Accuracy by round with the control, and how many pseudo labels each used; None without held-out labels."""
    summary = record.summary
    role = summary.reporting_role()
    if role is None or not summary.rounds:
        return None
    steps = []
    if summary.teacher:
        scores = summary.teacher.scores(role)
        steps.append(Step("teacher", scores.top1 if scores else None))
    for student in summary.rounds:
        scores, selection = student.scores(role), record.selections.get(student.round)
        rows = selection.rows if selection else None
        steps.append(Step(student.name, scores.top1 if scores else None, student.selected, rows, student.worse))
    judged, difference = judged_model(summary).scores(role), summary.verdict.difference
    control = judged.top1 - difference if judged and difference is not None else None
    used = "round, and the pseudo labels used" if record.selections else "student"
    return round_chart(steps, control, title=f"Accuracy of the teacher and of each {used}")


def chart_caption(record: RunRecord) -> str:
    """What the first chart shows."""
    role = record.summary.reporting_role()
    if is_distillation(record.summary):
        return f"Accuracy on the {role} images: the teacher, the student, and labels-only training."
    used = "; below, the pseudo labels that each round used" if record.selections else ""
    worse = "; hollow: worse, not kept" if any(one.worse for one in record.summary.rounds) else ""
    return f"Accuracy on the {role} images{used}{worse}."


def use_of_model(record: RunRecord) -> tuple[str, str]:
    """Which model to use, and the command that classifies a folder with it.

    It is the delivered one, or the control where that is better and nothing could choose it.
    """
    summary, folder = record.summary, record.folder
    delivers_student = summary.delivered != "teacher" and not summary.delivered.startswith("control")
    if summary.verdict.decision == "worse" and delivers_student and summary.control:
        better = folder / summary.control.name.replace(" ", "-")
        return "Use the model that learned from the labels only:", _predict(better)
    return "Use the model:", _predict(folder)


def _predict(folder: Path) -> str:
    return f"noisystudent predict {shlex.quote(str(folder))} FOLDER"


@dataclass(frozen=True, slots=True)
class Sign:
    """What a round shows without labels: pseudo labels used, those that stayed as they were, and their confidence."""

    name: str
    used: int | None
    agreement: float | None
    confidence: float | None


def signs_without_labels(record: RunRecord) -> tuple[Sign, ...]:
    """The signs of each round of a run that held nothing out; none where a chart of accuracies says more."""
    if record.summary.reporting_role() is not None:
        return ()
    return tuple(
        Sign(one.name, one.selected, one.diagnostics.get("agreement"), one.diagnostics.get("mean_confidence"))
        for one in record.summary.rounds
        if one.diagnostics
    )


def gains(record: RunRecord) -> GainView | None:
    """The accuracy of each class by the control and by the student, the largest gain first; None without both."""
    summary = record.summary
    role = summary.reporting_role()
    control = summary.control.scores(role) if summary.control else None
    student = judged_model(summary).scores(role)
    if control is None or student is None:
        return None
    rows = []
    for name, share in student.per_class.items():
        before = control.per_class.get(name)
        if share is not None and before is not None:
            rows.append(ClassGain(name, before, share))
    if not rows:
        return None
    changed = sorted(rows, key=lambda row: -abs(row.gain))[:GAINS_SHOWN]
    ordered = sorted(changed, key=lambda row: -row.gain)
    chart = gain_chart(ordered, title="Accuracy of each class: labels only, and student")
    return GainView(chart, len(ordered), len(rows) - len(ordered))


def cards(record: RunRecord) -> tuple[Card, ...]:
    """At most four cards: what to check and to label, or size and speed after a distillation, and the weakest class."""
    return tuple(_cards(record))


def _cards(record: RunRecord) -> Iterator[Card]:
    findings, weakest = record.findings, weakest_class(record)
    if is_distillation(record.summary):
        yield from (Card("scores", ratio.words, "", ratio.amounts) for ratio in ratios(record.summary))
    if findings:
        issues, foreign, following = (len(findings.label_issues), len(findings.out_of_class), len(findings.label_next))
        words = "label looks wrong" if issues == 1 else "labels look wrong"
        yield Card("label-issues", f"{issues:,}", words, f"of {findings.labels:,}; check these first")
        words = "image of no class" if foreign == 1 else "images of no class"
        yield Card("out-of-class", f"{foreign:,}", words, f"perhaps, of {findings.checked:,} unlabeled ones")
        if record.summary.reporting_role() is None and findings.label_for_test:
            yield Card("label-for-test", f"{len(findings.label_for_test):,}", "to label for a test", "drawn at random")
        yield Card("label-next", f"{following:,}", "to label next", "these would teach the model most")
    if weakest:
        name = wording.shortened(weakest[0], 24)
        yield Card("gains", name, "is the weakest class", f"{wording.percent(weakest[1])} right")


def sections(present: Mapping[str, bool]) -> list[tuple[str, str]]:
    """The links of the bar: anchors and words of the sections that are there.

    Args:
        present: Whether an optional section is there, by its anchor; ``distilled``: whether rounds are students.
    """
    rounds = "Accuracy per student" if present["distilled"] else "Accuracy per round"
    everything = {**FINDINGS, **DETAILS, "progress": rounds}
    return [(anchor, words) for anchor, words in everything.items() if present.get(anchor, True)]
