"""The first words of a page: what happened, with two numbers, and what would settle it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy.stats import t as student_t

from noisystudent.display import wording
from noisystudent.evaluation.verdict import Decision, Verdict
from noisystudent.results.facts import HeadEvidence
from noisystudent.results.run import EvaluatedModel, Role, RunSummary

Kind = Literal["control", "student", "gain"]
Tone = Literal["good", "bad", "unsure"]
TONES: dict[Decision, Tone] = {"keep": "good", "worse": "bad", "no clear gain": "unsure"}
MOST_LABELS = 1_000_000  # a number of labels beyond is no advice


@dataclass(frozen=True, slots=True)
class BigNumber:
    """A number of the first screen, what it is, and whose color it has."""

    kind: Kind
    text: str
    what: str


@dataclass(frozen=True, slots=True)
class Headline:
    """The verdict in two words (``pill``), what happened (``title``), how sure that is (``lead``), and its numbers."""

    pill: str
    tone: Tone
    title: str
    lead: str
    numbers: tuple[BigNumber, ...]


def is_distillation(summary: RunSummary) -> bool:
    """Whether the summary is that of a distillation, which delivers ``student-<n>``."""
    return summary.delivered.startswith("student-")


def judged_model(summary: RunSummary) -> EvaluatedModel:
    """The model that the verdict is about: the last student that was kept, or the last one where none was."""
    kept = [student for student in summary.rounds if not student.worse]
    return kept[-1] if kept else summary.rounds[-1] if summary.rounds else summary.student


def headline(
    summary: RunSummary, unlabeled: int | None, evidence: HeadEvidence | None = None, for_test: int = 0
) -> Headline:
    """The first words of the page of a run.

    Args:
        summary: The summary.
        unlabeled: The number of unlabeled images; None where it is unknown.
        evidence: What cross-fitting on the labels showed; None without it.
        for_test: How many images ``label_for_test.csv`` has.
    """
    role, verdict = summary.reporting_role(), summary.verdict
    scores = judged_model(summary).scores(role)
    if scores is None or role is None:
        return _unchecked(summary, evidence, for_test)
    if not summary.rounds:
        title = f"Trained on the labels alone: {wording.percent(scores.top1)} right"
        lead = f"On {_images(scores.count, role)}. {_sentence(verdict.reason)} A larger --budget has students."
        number = BigNumber("control", wording.percent(scores.top1), "labels only")
        return Headline("labels only", "unsure", title, lead, (number,))
    if verdict.difference is None:
        title = f"Trained: {wording.percent(scores.top1)} right, with nothing to compare it with"
        lead = f"On {_images(scores.count, role)}. {_sentence(verdict.reason)} --rounds.controls 1 has one."
        return Headline("no control", "unsure", title, lead, (_student(scores.top1, unlabeled),))
    student, control = scores.top1, scores.top1 - verdict.difference
    numbers = (
        BigNumber("control", wording.percent(control), "labels only (control)"),
        _student(student, unlabeled),
        BigNumber("gain", wording.points(verdict.difference), f"points{_bounds(verdict)}"),
    )
    both = f"{wording.percent(student)} instead of {wording.percent(control)} right"
    treatment = verdict.treatment[:1].upper() + verdict.treatment[1:]
    if verdict.decision == "keep":
        return Headline("keep it", "good", f"{treatment} helped: {both}", sure_sentence(verdict, role), numbers)
    if verdict.decision == "worse":
        return Headline("worse", "bad", f"{treatment} did harm: {both}", sure_sentence(verdict, role), numbers)
    title = f"No clear gain: {wording.percent(student)} against {wording.percent(control)} right"
    return Headline(
        "no clear gain", "unsure", title, f"{sure_sentence(verdict, role)} {settle_sentence(verdict)}", numbers
    )


def labels_to_settle(verdict: Verdict) -> int | None:
    """How many held-out labels would make an interval of this difference leave out 0; None if no number would.

    The variance of a verdict has a part that falls with the number of labels, and the luck of training, which does not
    (``evaluation.verdict``). The difference is taken to stay as it is.
    """
    if verdict.interval is None or not verdict.difference or not verdict.labels:
        return None
    quantile = float(student_t.ppf(0.975, max(verdict.labels - 1, 1)))
    half = (verdict.interval[1] - verdict.interval[0]) / 2
    luck = (verdict.luck or 0.0) ** 2 * (1 + 1 / max(verdict.controls, 1))
    of_images = max((half / quantile) ** 2 - luck, 0.25 / verdict.labels**2) * verdict.labels
    left = (verdict.difference / quantile) ** 2 - luck
    if left <= 0:
        return None
    needed = math.ceil(of_images / left)
    return needed if verdict.labels < needed <= MOST_LABELS else None


def two_digits(count: int) -> str:
    """A count rounded to two digits, because more would promise too much."""
    return f"{int(float(f'{count:.2g}')):,}"


def settle_sentence(verdict: Verdict) -> str:
    """What would show whether there is a gain."""
    needed = labels_to_settle(verdict)
    if needed is not None:
        return f"If the difference stays as it is, about {two_digits(needed)} held-out labels would settle it."
    if verdict.luck:
        return "More labels alone would not settle it, because trainings differ by luck; more controls may."
    return "More held-out labels would narrow it."


def _unchecked(summary: RunSummary, evidence: HeadEvidence | None, for_test: int) -> Headline:
    """Without held-out labels, what cross-fitting on the labels says, and how to find out more."""
    ask = f"The {for_test} images of label_for_test.csv, labeled and given as a test folder, would tell."
    ask = ask if for_test else "A test folder (--test) would tell."
    if evidence is None:
        title = "Trained, but not checked: a few labeled images aside would tell"
        return Headline(
            "not checked", "unsure", title, f"Nothing was held out, so no number says how good it is. {ask}", ()
        )
    student, control = wording.percent(evidence.student), wording.percent(evidence.labels_only)
    lead = (
        f"Nothing was held out. The estimate is from {wording.plural(evidence.labels, 'label')} of yours, each "
        f"predicted by models that did not learn from it ({wording.p_value(evidence.p_value)}). {ask}"
    )
    numbers = (
        BigNumber("control", control, "labels only, cross-fitted"),
        BigNumber("student", student, "student, cross-fitted"),
    )
    title = f"Not checked yet: your labels suggest {student} right, {control} without the unlabeled images"
    return Headline("not checked", "unsure", title, lead, numbers)


def sure_sentence(verdict: Verdict, role: Role) -> str:
    """How sure the difference is, in words."""
    assert verdict.difference is not None
    count = round(abs(verdict.difference) * verdict.labels)
    more = "more" if verdict.difference >= 0 else "fewer"
    against = "labels-only training" if verdict.controls < 2 else f"the mean of {verdict.controls} labels-only models"
    lead = f"On {_images(verdict.labels, role)} the student gets {count:,} {more} right than {against}."
    if verdict.interval is None:
        return lead
    p_value = f", {wording.p_value(verdict.p_value)}" if verdict.p_value is not None else ""
    p_value = p_value.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")
    p_value = p_value.replace(" < ", "\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}")
    return f"{lead} The true difference is very likely {_range(verdict)} (95% interval{p_value})."


def _range(verdict: Verdict) -> str:
    """The interval in words."""
    if verdict.interval is None:
        return "unknown"
    low, high = (100 * end for end in verdict.interval)
    if low < 0 <= high:
        return f"between {-low:.1f} points worse and {high:.1f} better"
    ends = sorted((abs(low), abs(high)))
    return f"{ends[0]:.1f} to {ends[1]:.1f} points {'better' if low >= 0 else 'worse'}"


def _bounds(verdict: Verdict) -> str:
    """The interval in numbers."""
    if verdict.interval is None:
        return ""
    low, high = (wording.points(end) for end in verdict.interval)
    return f", {low} to {high}"


def _student(top1: float, unlabeled: int | None) -> BigNumber:
    return BigNumber(
        "student",
        wording.percent(top1),
        f"with {wording.plural(unlabeled, 'unlabeled image')}" if unlabeled else "student",
    )


def _images(count: int, role: Role) -> str:
    return wording.plural(count, f"{role} image")


def _sentence(text: str) -> str:
    text = text.strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}." if text else ""
