"""The two things that every run ends with, shared by the page and the terminal: its table and its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from noisystudent.display import wording
from noisystudent.reporting.read import parse_summary, parse_verdict
from noisystudent.reporting.records import EvaluatedModel, Role, Summary, Verdict

Kind = Literal["baseline", "teacher", "control", "round", "rolled back", "delivered"]

COLUMNS = ("", "Top-1", "Top-5", "ECE", "NLL", "Parameters", "Samples seen", "Time")

_OPENINGS = {
    "keep": "Keep the student",
    "roll back": "Roll back",
    "cannot tell": "Cannot tell whether {helper} helped",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; shares are fractions, ``seconds`` is wall time, ``None`` means not measured."""

    name: str
    kind: Kind
    top1: float | None
    top5: float | None = None
    ece: float | None = None
    nll: float | None = None
    parameters: int | None = None
    samples_seen: int | None = None
    seconds: float | None = None

    def cells(self) -> tuple[str, ...]:
        """The texts under ``COLUMNS``: accuracies and ECE in percent, NLL in nats."""
        return (
            self.name,
            wording.percent(self.top1),
            wording.percent(self.top5),
            wording.percent(self.ece),
            wording.number(self.nll),
            wording.compact(self.parameters),
            wording.compact(self.samples_seen),
            wording.duration(self.seconds),
        )


def summary_rows(summary: Mapping[str, object] | Summary) -> list[Row]:
    """The table of a run from the content of its ``summary.json``, in the order it is read in.

    Baselines, teacher, control, every round (rolled-back ones named as such), then what was delivered. Scores
    are those on the test source, or on validation where the student has no test scores. Raises
    ``ArtifactError`` when the content is not a summary.
    """
    summary = parse_summary(summary)
    role = summary.reporting_role()
    rows = [Row(f"Baseline: {one.name}", "baseline", one.top1) for one in summary.baselines]
    rows += [_row(one.name.capitalize(), "teacher", one, role) for one in summary.teachers]
    if summary.teacher is not None:
        rows.append(_row(summary.teacher.name.capitalize(), "teacher", summary.teacher, role))
    if summary.control is not None:
        rows.append(_row("Control (labels only)", "control", summary.control, role))
    for one in summary.rounds:
        name = one.name.capitalize() + (" (rolled back)" if one.rolled_back else "")
        rows.append(_row(name, "rolled back" if one.rolled_back else "round", one, role))
    if summary.generations is not None:
        rows.append(_row(summary.generations.name.capitalize(), "round", summary.generations, role))
    rows.append(_row(f"Delivered: {summary.delivered}", "delivered", summary.student, role))
    return rows


def table_caption(summary: Mapping[str, object] | Summary) -> str:
    """One sentence that says on which source, and on how many labels, the table's scores were measured."""
    summary = parse_summary(summary)
    role = summary.reporting_role()
    scores = summary.student.scores(role)
    if scores is None:
        return "There were no held-out labels, so nothing could be scored."
    return f"Scores on {wording.plural(scores.count, 'label')} of the {role} source."


def verdict_sentence(verdict: Mapping[str, object] | Verdict) -> str:
    """The verdict in a sentence: decision, difference in points, interval, p-value, labels and source."""
    verdict = parse_verdict(verdict)
    opening = _OPENINGS[verdict.decision].format(helper=verdict.helper)
    if verdict.difference is None:
        reason = verdict.reason.strip().rstrip(".") or "nothing was measured on held-out labels"
        return f"{opening}: {reason}."
    subject = "it" if verdict.decision == "keep" else "the student"
    # One decimal is what a few thousand labels can carry.
    digits = 2 if (verdict.labels or 0) >= 10_000 else 1
    details = []
    if verdict.interval is not None:
        low, high = (wording.points(end, digits) for end in verdict.interval)
        details.append(f"95% interval {low} to {high}")
    if verdict.p_value is not None:
        details.append(wording.p_value(verdict.p_value))
    sentence = f"{opening}: {subject} is {_comparison(verdict.difference, digits)} the labels-only control"
    if details:
        sentence += f" ({', '.join(details)})"
    if verdict.labels:
        where = f" of the {verdict.source} source" if verdict.source != "none" else ""
        sentence += f" on {wording.plural(verdict.labels, 'held-out label')}{where}"
    return sentence + "."


def _comparison(difference: float, digits: int) -> str:
    text = wording.points(difference, digits)
    if float(text) == 0:
        return "as accurate as"
    amount = text.lstrip("+-")
    noun = "point" if float(amount) == 1 else "points"
    return f"{amount} {noun} {'better' if difference > 0 else 'worse'} than"


def _row(name: str, kind: Kind, evaluated: EvaluatedModel, role: Role | None) -> Row:
    scores = evaluated.scores(role)
    return Row(
        name=name,
        kind=kind,
        top1=scores.top1 if scores else None,
        top5=scores.top5 if scores else None,
        ece=scores.ece if scores else None,
        nll=scores.nll if scores else None,
        parameters=evaluated.parameters,
        samples_seen=evaluated.samples_seen,
        seconds=evaluated.seconds,
    )
