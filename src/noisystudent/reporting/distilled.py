"""The first words of the page of a distillation: how small and fast the student is, and what it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from noisystudent.display import wording
from noisystudent.evaluation.verdict import Decision
from noisystudent.reporting.headline import TONES, BigNumber, Headline, sure_sentence
from noisystudent.results.run import EvaluatedModel, RunSummary

_PILLS: dict[Decision, str] = {
    "keep": "better than labels only",
    "no clear gain": "no clear gain over labels only",
    "worse": "worse than labels only",
}
ALIKE = 0.05  # sizes and times that differ by less are called the same
_AS_TEACHER = " as its teacher"


@dataclass(frozen=True, slots=True)
class Ratio:
    """How a student compares with its teacher: in words, and in the amounts that it ``has_or_takes``."""

    words: str
    has_or_takes: str
    amounts: str


def distilled_headline(summary: RunSummary) -> Headline:
    """The first words of the page of a distillation."""
    role, teacher = summary.reporting_role(), summary.teacher
    opening = _opening(summary)
    amounts = wording.joined([f"{ratio.has_or_takes} {ratio.amounts}" for ratio in ratios(summary)])
    amounts = f"It {amounts}." if amounts else ""
    scores, of_teacher = summary.student.scores(role), teacher.scores(role) if teacher else None
    if scores is None or role is None:
        lead = f"{amounts} Nothing was held out, so no number says how good it is. A test folder (--test) would tell."
        return Headline("not checked", "unsure", f"{opening}, but not checked", lead.strip(), ())
    numbers = [BigNumber("student", wording.percent(scores.top1), "student")]
    title = f"{opening}: {wording.percent(scores.top1)} right"
    if of_teacher:
        right = f"{100 * scores.top1:.1f} of the teacher's {wording.percent(of_teacher.top1)}"
        better = f"{wording.percent(scores.top1)} right, its teacher {wording.percent(of_teacher.top1)}"
        title = f"{opening}, keeps {right}" if scores.top1 <= of_teacher.top1 else f"{opening}: {better}"
        kept = scores.top1 / of_teacher.top1 if of_teacher.top1 else 0.0
        numbers.append(BigNumber("gain", wording.percent(kept), "of the teacher's accuracy"))
    difference = summary.verdict.difference
    if difference is None:
        lead = f"On {wording.plural(scores.count, f'{role} image')}. {amounts}"
        return Headline("no control", "unsure", title, lead.strip(), tuple(numbers))
    control = BigNumber("control", wording.percent(scores.top1 - difference), "labels only (control)")
    decision = summary.verdict.decision
    lead = f"{sure_sentence(summary.verdict, role)} {amounts}".strip()
    return Headline(_PILLS[decision], TONES[decision], title, lead, (control, *numbers))


def _opening(summary: RunSummary) -> str:
    """How small and fast the student is, with a capital."""
    words = [ratio.words for ratio in ratios(summary)]
    if len(words) > 1 and all(text.endswith(_AS_TEACHER) for text in words):
        text = wording.joined([text.removesuffix(_AS_TEACHER) for text in words]) + _AS_TEACHER
    else:
        text = wording.joined(words) if words else "distilled"
    return text[:1].upper() + text[1:]


def ratios(summary: RunSummary) -> Iterator[Ratio]:
    """Size and speed of the student beside its teacher, as far as they are known."""
    for compare in (_size, _speed):
        ratio = compare(summary.student, summary.teacher)
        if ratio:
            yield ratio


def _size(student: EvaluatedModel, teacher: EvaluatedModel | None) -> Ratio | None:
    """How much smaller the student is; None where a size is unknown."""
    if teacher is None or not student.parameters or not teacher.parameters:
        return None
    amounts = f"{wording.compact(student.parameters)} parameters instead of {wording.compact(teacher.parameters)}"
    return Ratio(_times(teacher.parameters / student.parameters, "smaller", "larger", "as large"), "has", amounts)


def _speed(student: EvaluatedModel, teacher: EvaluatedModel | None) -> Ratio | None:
    """How much faster the student is; None where a time is unknown, as in an older run."""
    if teacher is None or not student.milliseconds or not teacher.milliseconds:
        return None
    amounts = f"{_two_digits(student.milliseconds)} ms per image instead of {_two_digits(teacher.milliseconds)}"
    return Ratio(_times(teacher.milliseconds / student.milliseconds, "faster", "slower", "as fast"), "takes", amounts)


def _times(ratio: float, more: str, less: str, alike: str) -> str:
    if abs(ratio - 1) < ALIKE:
        return f"{alike}{_AS_TEACHER}"
    return f"{ratio:.1f} times {more}" if ratio > 1 else f"{1 / ratio:.1f} times {less}"


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}"
