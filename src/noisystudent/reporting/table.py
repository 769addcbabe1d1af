"""The table and the verdict of a run, for the page and the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from noisystudent.display import wording
from noisystudent.evaluation.metrics.scores import FIVE
from noisystudent.evaluation.verdict import UNLABELED, Verdict
from noisystudent.results.fix import FixResult
from noisystudent.results.run import Cost, EvaluatedModel, Role, RunSummary

Kind = Literal["baseline", "teacher", "control", "round", "worse", "delivered"]

COLUMNS = ("", "Top-1", "Top-5", "ECE", "NLL", "Parameters", "Samples seen", "Time")
TOP5 = "Top-5"

_OPENINGS = {
    "keep": "{treatment} helped",
    "worse": "{treatment} did harm",
    "no clear gain": "No clear gain from {treatment}",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table; accuracies and errors are fractions from 0 to 1, and None means not measured."""

    name: str
    kind: Kind
    top1: float | None
    top5: float | None = None
    ece: float | None = None
    nll: float | None = None
    parameters: int | None = None
    samples_seen: int | None = None
    seconds: float | None = None

    def cells(self, columns: Sequence[str] = COLUMNS) -> tuple[str, ...]:
        """The texts of some of the columns ``COLUMNS``: accuracies and ECE in percent, NLL in nats."""
        texts = (
            self.name,
            wording.percent(self.top1),
            wording.percent(self.top5),
            wording.percent(self.ece),
            wording.number(self.nll),
            wording.compact(self.parameters),
            wording.compact(self.samples_seen),
            wording.duration(self.seconds),
        )
        return tuple(text for column, text in zip(COLUMNS, texts, strict=True) if column in columns)


def table_columns(summary: RunSummary) -> tuple[str, ...]:
    """The columns of a run's table: of at most five classes, the true one is always among five."""
    few = len(summary.classes) <= FIVE
    return tuple(column for column in COLUMNS if not (few and column == TOP5))


def summary_rows(summary: RunSummary) -> list[Row]:
    """The rows of a run's table: baselines, teachers, control, rounds and the delivered model.

    Args:
        summary: the summary of the run.

    Returns:
        The rows, with the scores on the test source, or on validation if the student has no test scores.
    """
    role = summary.reporting_role()
    rows = [Row(f"Baseline: {baseline.name}", "baseline", baseline.top1) for baseline in summary.baselines]
    rows += [_row(teacher.name.capitalize(), "teacher", teacher, role) for teacher in summary.teachers]
    if summary.teacher is not None:
        rows.append(_row(summary.teacher.name.capitalize(), "teacher", summary.teacher, role))
    if summary.control is not None and summary.control.name != "teacher":
        steps = "of as many steps, " if summary.control_length == "steps" else ""
        rows.append(_row(f"Control ({steps}labels only)", "control", summary.control, role))
    rows += [
        _row(f"{model.name.capitalize()} (labels only)", "control", model, role) for model in summary.further_controls
    ]
    rows += [
        _row("Control (of as many steps, labels only)", "control", model, role) for model in summary.controls_of_steps
    ]
    for student in summary.rounds:
        name = student.name.capitalize() + (" (worse, not kept)" if student.worse else "")
        rows.append(_row(name, "worse" if student.worse else "round", student, role))
    if summary.generations is not None:
        rows.append(_row(summary.generations.name.capitalize(), "round", summary.generations, role))
    if summary.small_student is not None:
        rows.append(_row(f"Small student: {summary.small_student.model}", "round", summary.small_student, role))
    rows.append(_row(f"Delivered: {summary.delivered}", "delivered", summary.student, role))
    return rows


def table_caption(summary: RunSummary) -> str:
    """One sentence: the source of the table's scores and its number of labels."""
    role = summary.reporting_role()
    scores = summary.student.scores(role)
    if scores is None:
        return "There were no held-out labels, so there are no scores."
    return f"Scores on {wording.plural(scores.count, 'label')} of the {role} source."


def cost_sentence(cost: Cost, machine: str = "") -> str:
    """What the whole run took; empty where that was not recorded."""
    if cost.seconds is None or cost.samples_seen is None:
        return ""
    where = f" on {machine}" if machine else ""
    amounts = f"{wording.duration(cost.seconds)} and {wording.compact(cost.samples_seen)} samples seen{where}"
    if not cost.stages:
        return f"The whole run took {amounts}."
    return (
        f"The whole run took {amounts}, with {wording.compact(cost.images_predicted)} predictions to label and to "
        "score. This counts everything, from reading the images to the page."
    )


def advice_sentence(summary: RunSummary, folder: str = "") -> str:
    """Which model to use, and why.

    Args:
        summary: the summary of the run.
        folder: the run's folder with a slash at its end, to put before the folders of models.
    """
    return _advice(summary, folder) + _simpler_sentence(summary, folder)


def small_student_sentence(summary: RunSummary, folder: str = "") -> str:
    """Where the small student is, and what it keeps of the delivered model; empty without one.

    Args:
        summary: the summary of the run.
        folder: the run's folder with a slash at its end, to put before the folder of the model.
    """
    small, role = summary.small_student, summary.reporting_role()
    if small is None:
        return ""
    text = f"The small student, {small.model}, is in {folder}small-student/student"
    own, delivered = small.scores(role), summary.student.scores(role)
    if own is None or delivered is None:
        return f"{text}."
    sizes = f"with {wording.compact(small.parameters)} parameters"
    if summary.student.parameters is not None:
        sizes += f" instead of {wording.compact(summary.student.parameters)}"
    return (
        f"{text}: {wording.percent(own.top1)} {sizes}, where the delivered model has {wording.percent(delivered.top1)}."
    )


def _simpler_sentence(summary: RunSummary, folder: str) -> str:
    """The simple classifiers that score higher than the delivered model, and where they are; empty without any."""
    role = summary.reporting_role()
    own = summary.student.scores(role)
    if own is None:
        return ""
    named = []
    for simple in summary.baselines:
        place = f", in {folder}{simple.checkpoint}" if simple.checkpoint else ""
        if simple.top1 > own.top1:
            named.append(f"{simple.name} ({wording.percent(simple.top1)}{place})")
    than = wording.percent(own.top1)
    return f" Something simpler scores higher on the same labels than {than}: {wording.joined(named)}." if named else ""


def _advice(summary: RunSummary, folder: str) -> str:
    verdict, best, (delivered, fixed) = summary.verdict, f"{folder}best", _delivered(summary)
    was, before = ("was", " before its fix") if fixed else ("is", "")
    above, evidence = _above_sentence(summary, folder), summary.delivery.chosen_by
    if not summary.rounds:
        return f"Use {best}: it is the labels-only teacher, the only model of this run. A larger --budget has students."
    if delivered == "teacher" or delivered.startswith("control"):
        return (
            f"Use {best}: it is the labels-only {delivered}; {evidence} showed what was trained beyond it to be worse."
        )
    if verdict.decision == "keep":
        return f"Use {best}: it is {delivered}, which {was} better than labels-only training{before}.{above}"
    if verdict.decision == "worse":
        return f"Do not use {best} as it is: {_why_delivered(summary)}.{above} Evaluate the models on new labels first."
    if summary.control is None:
        lacking = "held-out labels" if summary.reporting_role() is None else "a control"
        unknown = f"Without {lacking}, nothing shows what {verdict.treatment} did for it."
        return f"Use {best}: it is {delivered}. {unknown}{above}"
    more = "More held-out labels and more controls (rounds.controls)" if verdict.luck else "More held-out labels"
    return (
        f"Use {best}: it is {delivered}, and nothing shows it to be better or worse than the labels-only model in "
        f"{folder}{summary.control.name}{before}. {more} would.{above}"
    )


def _delivered(summary: RunSummary) -> tuple[str, bool]:
    """What the delivered model is called, and whether it was fixed for a larger size."""
    fixed = next((model for model in summary.fixed if model.checkpoint == summary.delivered), None)
    if fixed is None:
        return summary.delivered, False
    return f"{fixed.model.replace(' ', '-')} fixed for {fixed.size} px", True


def fix_sentence(summary: RunSummary, fixed: FixResult) -> str:
    """The accuracies of a model before and after its fix, where there are held-out labels, or that there are none."""
    role = summary.reporting_role()
    shown = [
        f"{wording.percent(scores.top1)} at {at.size} px{' fixed' if at.fixed else ''}"
        for at in fixed.scores
        if (scores := at.scores(role))
    ]
    return ", ".join(shown) or "there are no held-out labels"


def _why_delivered(summary: RunSummary) -> str:
    """Why the delivered model is the last student although labels-only training is better."""
    delivered, _ = _delivered(summary)
    if delivered.startswith("student-"):
        return f"it holds {delivered}, because a distillation delivers its last student"
    if summary.delivery.chosen_by != "nothing":
        return f"it holds {delivered}, because {summary.delivery.chosen_by} did not show it to be worse"
    return (
        f"it holds {delivered}, because only the test labels could choose another model, and these choose "
        "nothing (--validation gives labels that may)"
    )


def _above_sentence(summary: RunSummary, folder: str) -> str:
    """The labels-only models that score higher than the delivered model, with their folders; empty without any."""
    above, role = summary.delivery.labels_only_above, summary.reporting_role()
    own = summary.student.scores(role)
    if not above or not own:
        return ""
    scored = wording.joined([f"{folder}{name} ({wording.percent(top1)})" for name, top1 in above.items()])
    models = "a labels-only model scores" if len(above) == 1 else "labels-only models score"
    return f" On the {role} labels, {models} higher than {summary.delivered} ({wording.percent(own.top1)}): {scored}."


def comparison_sentence(summary: RunSummary) -> str:
    """What the student is compared with, and what the interval holds; empty without a comparison."""
    verdict = summary.verdict
    if not verdict.controls:
        return ""
    controls = ["control", *(model.name for model in summary.further_controls)]
    teachers = verdict.controls - len(controls)
    if verdict.controls == 1 and not verdict.luck:
        return "The student is compared with labels-only training without luck: another seed would give the same model."
    if verdict.controls == 1:
        seen = "took as many steps" if summary.control_length == "steps" else "saw as many samples"
        text = f"The student is compared with the control, which learned from the labels alone and {seen}."
    else:
        named = wording.joined([*controls, *(["the teacher"] if teachers == 1 else [])])
        seen = "whose weights saw as many samples as its own"
        if summary.control_length == "steps":
            seen = "which took as many steps as it did"
        text = (
            f"The student is compared with the mean of {verdict.controls} labels-only models, {seen}: "
            f"{named}{f' and {teachers} teachers' if teachers > 1 else ''}."
        )
        if not teachers and verdict.treatment == UNLABELED:
            text += " The teacher is not one of them, because its training differs from theirs."
    if summary.controls_of_steps:
        text += " The control of as many steps is not among them: it saw fewer images than the student."
    if verdict.luck:
        text += (
            " The interval holds the sampling of images and the luck of training: accuracies of trainings that differ "
            f"only in their seed have a standard deviation of {100 * verdict.luck:.1f} points."
        )
    return text


def verdict_sentence(verdict: Verdict) -> str:
    """The verdict as a sentence: decision, difference in points, interval, p-value, labels and source."""
    if verdict.difference is None:
        reason = verdict.reason.strip().rstrip(".") or "nothing was measured on held-out labels"
        return f"Nothing shows whether {verdict.treatment} helped: {reason}."
    opening = _OPENINGS[verdict.decision].format(treatment=verdict.treatment)
    opening = opening[:1].upper() + opening[1:]
    # A few thousand labels justify one decimal.
    digits = 2 if (verdict.labels or 0) >= 10_000 else 1
    details = []
    if verdict.interval is not None:
        low, high = (wording.points(end, digits) for end in verdict.interval)
        details.append(f"95% interval {low} to {high}")
    if verdict.p_value is not None:
        details.append(wording.p_value(verdict.p_value))
    sentence = f"{opening}: the student is {_comparison(verdict.difference, digits)} {_rivals(verdict)}"
    if details:
        sentence += f" ({', '.join(details)})"
    if verdict.labels:
        where = f" of the {verdict.source} source" if verdict.source != "none" else ""
        sentence += f" on {wording.plural(verdict.labels, 'held-out label')}{where}"
    return sentence + "."


def _rivals(verdict: Verdict) -> str:
    several = verdict.controls > 1
    return f"the mean of {verdict.controls} labels-only models" if several else "the labels-only control"


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
