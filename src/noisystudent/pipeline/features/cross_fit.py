"""What cross-fitting on the labels decides for heads: the weight decay, the weights of the teachers, and who is better.

Every label is predicted by models that did not see it, so that nothing is chosen on what it was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.typed_json import read_result, write_result
from noisystudent.data.stratified import cross_fit_folds, single_labels
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.features.teachers import LEAST, FeatureTeachers, weights_by_accuracy
from noisystudent.pseudo_labels.shift import HeldOutAnswers
from noisystudent.results.facts import HeadChoice, HeadTeacher, PenaltyCandidate
from noisystudent.results.run import StageCost
from noisystudent.training.linear_head import FOLDS, PENALTIES, LinearHead

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

CHOICE = "head-choice"
FEW_LABELS_PENALTY = 0.1  # where a class has a single label, which no cross-fitting can test


@dataclass(frozen=True)
class Fold:
    """Labeled rows that models do not see, and those that they learn from; both ascending."""

    held_out: Ints
    rest: Ints


def folds_of(context: RunContext) -> list[Fold]:
    """The folds of the labeled images; none where a class has a single label."""
    return folds_of_labels(context.splits.labeled.labels, context.settings.seed)


def folds_of_labels(labels: Ints, seed: int) -> list[Fold]:
    """The folds of labels int64 [N]; none where a class has a single label."""
    if single_labels(labels):
        return []
    dealt = cross_fit_folds(labels, FOLDS, seed)
    everything = np.arange(len(labels))
    return [Fold(fold, np.setdiff1d(everything, fold)) for fold in dealt if len(fold)]


def choose_head(context: RunContext, teachers: FeatureTeachers) -> HeadChoice:
    """The weight decay of labels-only heads and the weights of the teachers; writes ``head-choice/summary.json``.

    The decay has the best likelihood of labels that the heads did not see; accuracy is too coarse with few labels.
    """
    inputs = {
        "features": teachers.fingerprint,
        "penalty": context.settings.head.penalty,
        "seed": context.settings.seed,
        "teachers": list(teachers.names),
    }
    if teachers.logit_adjustment:
        inputs["logit_adjustment"] = teachers.logit_adjustment
    folder = context.folder_of(CHOICE)
    if not context.is_complete(CHOICE, inputs):
        choice = _choose(context, teachers)

        def write() -> None:
            write_result(folder / "summary.json", choice)
            context.commit(CHOICE, inputs, StageCost(name=CHOICE))

        context.engine.group.on_main(write)
    return read_result(HeadChoice, folder / "summary.json")


def _choose(context: RunContext, teachers: FeatureTeachers) -> HeadChoice:
    given, folds = context.settings.head.penalty, folds_of(context)
    if not folds:
        equal = tuple(HeadTeacher(name=name, weight=1 / len(teachers.names)) for name in teachers.names)
        return HeadChoice(penalty=FEW_LABELS_PENALTY if given == "auto" else given, teachers=equal)
    heads, candidates = _tried(teachers, folds, given)
    penalty = min(candidates, key=lambda candidate: candidate.nll).penalty
    top1 = {name: _top1(teachers, folds, name, heads[penalty]) for name in teachers.names}
    weights = weights_by_accuracy(top1)
    members = tuple(HeadTeacher(name=name, weight=weights[name], top1=top1[name]) for name in teachers.names)
    return HeadChoice(penalty=penalty, candidates=candidates, teachers=members, labels=len(teachers.labels))


def held_out_answers(context: RunContext, teachers: FeatureTeachers, choice: HeadChoice) -> HeldOutAnswers:
    """What the teachers' mean answers for labels that it did not see; every class has two labels or more."""
    answers = np.zeros((len(teachers.labels), teachers.classes), np.float32)
    for fold in folds_of(context):
        head = teachers.fit(fold.rest, choice.penalty)
        answers[fold.held_out] = teachers.mean(choice.weights, fold.rest, head)[fold.held_out]
    return HeldOutAnswers(np.log(np.maximum(answers, LEAST)), teachers.labels)


def choose_penalty(teachers: FeatureTeachers, folds: Sequence[Fold], given: float | Literal["auto"] = "auto") -> float:
    """The weight decay that is given, else that under which labels are most likely to heads that did not see them."""
    if given != "auto":
        return given
    if not folds:
        return FEW_LABELS_PENALTY
    return min(_tried(teachers, folds, "auto")[1], key=lambda candidate: candidate.nll).penalty


def _tried(
    teachers: FeatureTeachers, folds: Sequence[Fold], given: float | Literal["auto"]
) -> tuple[dict[float, list[LinearHead]], tuple[PenaltyCandidate, ...]]:
    """The heads of all folds by their weight decay, and how each decay predicts labels that they did not see."""
    penalties = PENALTIES if given == "auto" else (given,)
    heads = {penalty: [teachers.fit(fold.rest, penalty) for fold in folds] for penalty in penalties}
    return heads, tuple(_candidate(teachers, folds, penalty, heads[penalty]) for penalty in penalties)


def _candidate(
    teachers: FeatureTeachers, folds: Sequence[Fold], penalty: float, heads: Sequence[LinearHead]
) -> PenaltyCandidate:
    losses, correct = [], []
    for fold, head in zip(folds, heads, strict=True):
        log_p = head.log_probabilities(teachers.features.labeled[0][fold.held_out])
        truth = teachers.labels[fold.held_out]
        losses.append(-log_p[np.arange(len(truth)), truth])
        correct.append(log_p.argmax(axis=1) == truth)
    return PenaltyCandidate(
        penalty=penalty, nll=float(np.concatenate(losses).mean()), top1=float(np.concatenate(correct).mean())
    )


def _top1(teachers: FeatureTeachers, folds: Sequence[Fold], name: str, heads: Sequence[LinearHead]) -> float:
    """The accuracy of a teacher on labels that it did not see."""
    correct = [
        teachers.probabilities(name, fold.rest, head)[fold.held_out].argmax(axis=1) == teachers.labels[fold.held_out]
        for fold, head in zip(folds, heads, strict=True)
    ]
    return float(np.concatenate(correct).mean())
