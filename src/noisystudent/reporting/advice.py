"""What would help most: rules that read the numbers of a run, each with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from noisystudent.display import wording
from noisystudent.reporting.headline import is_distillation, labels_to_settle, two_digits
from noisystudent.reporting.records import RunRecord
from noisystudent.results.findings import Findings

MOST_ADVICE = 5
UNUSED = 0.1  # of the pseudo labels, worth another round
MISCALIBRATED = 0.05  # expected calibration error
FOREIGN = 0.01  # of the unlabeled images
MOST_TIMES = 20  # as many held-out labels as there are; more is no advice


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do and why; ``command`` is what to type or to add to the command of the run, empty where nothing is."""

    text: str
    command: str = ""


def advice_of(record: RunRecord) -> tuple[Advice, ...]:
    """At most five pieces of advice, the most useful first."""
    rules = (*_labels(record), *_held_out(record), *_foreign(record), *_weakest_class(record), *_unused(record))
    return (*rules, *_calibration(record))[:MOST_ADVICE]


def weakest_class(record: RunRecord) -> tuple[str, float] | None:
    """The class with the lowest accuracy of the delivered model, where results are reported."""
    scores = record.summary.student.scores(record.summary.reporting_role())
    known = {name: share for name, share in (scores.per_class if scores else {}).items() if share is not None}
    return min(known.items(), key=lambda item: item[1]) if known else None


def _labels(record: RunRecord) -> Iterator[Advice]:
    findings = record.findings
    if findings and findings.label_issues:
        count = len(findings.label_issues)
        names = "One label looks" if count == 1 else f"{count:,} labels look"
        yield Advice(
            f"{names} wrong, of {findings.labels:,}. Check each, move the image to its class, and run again.",
            "label_issues.csv",
        )


def _held_out(record: RunRecord) -> Iterator[Advice]:
    summary, verdict = record.summary, record.summary.verdict
    if summary.reporting_role() is None:
        if record.findings and record.findings.label_for_test:
            count = len(record.findings.label_for_test)
            yield Advice(
                f"Put the {count} images of label_for_test.csv, which were drawn at random, into a folder "
                "of their own, by class: then the run says how good it is.",
                "--test FOLDER",
            )
        return
    needed = labels_to_settle(verdict) if verdict.decision == "no clear gain" else None
    if needed and needed <= MOST_TIMES * verdict.labels:
        difference = f"a difference of {wording.points(verdict.difference or 0)} points"
        yield Advice(
            f"{verdict.labels:,} {verdict.source} labels cannot show {difference}; about {two_digits(needed)} could.",
            "--test FOLDER",
        )
    elif verdict.decision == "no clear gain" and verdict.luck and verdict.controls < 3:
        yield Advice("Trainings differ by luck. More controls say how much.", "--rounds.controls 3")


def _foreign(record: RunRecord) -> Iterator[Advice]:
    findings = record.findings
    if not findings or len(findings.out_of_class) <= FOREIGN * findings.checked:
        return
    count = f"{len(findings.out_of_class):,} of {findings.checked:,} unlabeled images may be of no class."
    if _can_leave_out(record):
        yield Advice(f"{count} Leave such images out of the training.", "--selection.foreign drop")
    else:
        yield Advice(f"{count} Move them out of the folder, or give them a class of their own.", "out_of_class.csv")


def _can_leave_out(record: RunRecord) -> bool:
    """Whether the run could leave foreign images out: on a frozen backbone, or beside validation images in rounds."""
    model, summary = record.facts.settings.get("model"), record.summary
    if isinstance(model, dict) and model.get("tune") == "head":
        return True
    return summary.student.validation is not None and any(student.selected is not None for student in summary.rounds)


def _weakest_class(record: RunRecord) -> Iterator[Advice]:
    weakest = weakest_class(record)
    if weakest is None or weakest[1] > 0.95:
        return
    name, share = weakest
    likely = _likely(record.findings, name)
    more = f" {likely} of the images to label next may be of it." if likely else ""
    yield Advice(
        f"{wording.isolated(name)} is the weakest class: {wording.percent(share)} right. More labels of it help "
        f"most.{more}",
        "label_next.csv" if record.findings else "",
    )


def _likely(findings: Findings | None, name: str) -> int:
    return sum(name in (image.first, image.second) for image in findings.label_next) if findings else 0


def _unused(record: RunRecord) -> Iterator[Advice]:
    if is_distillation(record.summary) or not record.selections:
        return
    last = max(record.selections)
    selection = record.selections[last]
    unused = selection.rows - selection.selected
    if selection.rows and unused > UNUSED * selection.rows and not record.summary.rounds[-1].worse:
        yield Advice(
            f"{unused:,} of {selection.rows:,} pseudo labels were not used. Further rounds may use more of them.",
            f"--rounds.count {last + 2}",
        )


def _calibration(record: RunRecord) -> Iterator[Advice]:
    scores = record.summary.student.scores(record.summary.reporting_role())
    if scores is None or scores.ece is None or scores.ece < MISCALIBRATED or not scores.calibration:
        return
    gap = sum(one.count * (one.confidence - one.accuracy) for one in scores.calibration)
    direction = "high" if gap > 0 else "low"
    yield Advice(
        f"Confidences are too {direction}: {wording.percent(scores.ece)} from the accuracy on average. Labels that did "
        "not train can correct them.",
        f"noisystudent evaluate --checkpoint {record.folder}/best --source FOLDER --calibrate FOLDER --out scores.json",
    )
