"""Evidence from the labels themselves, whether a student on features is better than a labels-only head.

Both sides are trained alike on all folds but one, and answer for the labels of that fold.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisystudent.artifacts.typed_json import read_result, to_json, write_result
from noisystudent.evaluation.metrics.temperature import fit_temperature
from noisystudent.evaluation.verdict import compare
from noisystudent.models.calibration import Calibration
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.features.cross_fit import Fold, folds_of
from noisystudent.pipeline.features.teachers import FeatureTeachers
from noisystudent.pipeline.heads.labels import deciding_objective, fit_student, label_and_select
from noisystudent.pipeline.labels.pseudo_labels import selection_identity
from noisystudent.pseudo_labels.shift import ClassShares
from noisystudent.results.facts import HeadChoice, HeadEvidence
from noisystudent.results.run import StageCost
from noisystudent.training.linear_head import Floats

CROSS_FIT = "cross-fit"


def calibration_of(evidence: HeadEvidence, *, student: bool) -> Calibration | None:
    """The calibration of the student, or of the labels-only head; None of an earlier version."""
    temperature = evidence.student_temperature if student else evidence.labels_only_temperature
    if temperature is None:
        return None
    return Calibration(temperature=temperature, labels=evidence.labels, fitted_on="cross-fitted labels")


def cross_fit_student(
    context: RunContext, teachers: FeatureTeachers, choice: HeadChoice, aim: ClassShares | None
) -> HeadEvidence | None:
    """The evidence; None where a class has a single label, which no cross-fitting can test.

    ``aim``: the class shares that selections aim at. They come from all labels, also in folds: K numbers of thousands.
    """
    folds, settings = folds_of(context), context.settings
    if not folds:
        return None
    inputs = {
        "features": teachers.fingerprint,
        "teachers": dict(choice.weights),
        "penalties": [choice.penalty, settings.head.student_penalty],
        "rounds": settings.rounds.count,
        "selection": selection_identity(context),
        "objective": deciding_objective(settings.objective),
        "ratio": settings.train.ratio,
        "seed": settings.seed,
    }
    if aim:
        inputs["aim"] = to_json(aim)
    folder = context.folder_of(CROSS_FIT)
    if not context.is_complete(CROSS_FIT, inputs):
        with context.reporter.bar(CROSS_FIT, len(folds), "folds") as bar:
            answers = []
            for number, fold in enumerate(folds, start=1):
                answers.append(_answers(context, teachers, choice, fold, f"{CROSS_FIT}/fold-{number}", aim))
                bar.advance(1)
        truth = teachers.labels[np.concatenate([fold.held_out for fold in folds])]
        of_student, of_head = (np.concatenate(side) for side in zip(*answers, strict=True))
        student, labels_only = of_student.argmax(axis=1) == truth, of_head.argmax(axis=1) == truth
        evidence = HeadEvidence(
            student=float(student.mean()),
            labels_only=float(labels_only.mean()),
            p_value=compare(student, labels_only).p_value,
            labels=len(truth),
            student_temperature=fit_temperature(of_student, truth),
            labels_only_temperature=fit_temperature(of_head, truth),
        )

        def write() -> None:
            write_result(folder / "summary.json", evidence)
            context.commit(CROSS_FIT, inputs, StageCost(name=CROSS_FIT))

        context.engine.group.on_main(write)
    return read_result(HeadEvidence, folder / "summary.json")


def _answers(
    context: RunContext,
    teachers: FeatureTeachers,
    choice: HeadChoice,
    fold: Fold,
    prefix: str,
    aim: ClassShares | None,
) -> tuple[Floats, Floats]:
    """Log-probabilities of a student and of a labels-only head for the held-out rows of a fold, [M, K] each."""
    plain = teachers.features.labeled[0][fold.held_out]
    labels_only = head = teachers.fit(fold.rest, choice.penalty)
    first: Path | None = None
    for number in range(1, context.settings.rounds.count + 1):
        predictions, selection = label_and_select(
            context, f"{prefix}/round-{number}", teachers, choice.weights, fold.rest, head, number,
            first if context.settings.selection.once else None, aim,
        )  # fmt: skip
        first = first or selection
        head = fit_student(context, teachers, fold.rest, predictions, selection, number)
    return head.log_probabilities(plain), labels_only.log_probabilities(plain)
