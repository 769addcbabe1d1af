"""The search for a noise strength: chosen on labels that its teachers did not see, never on test data.

With a validation source, every candidate strength trains a teacher on all labels and is scored there. Without one, the
labels are cross-fitted: each is predicted by a teacher that has not seen it. A teacher of a part of the labels trains
for that part of the steps, so that it sees each label as often as the run's own teacher does; more often would favor
more noise.

The weakest candidate wins whose accuracy is at most two standard errors below the best. Too much noise costs far more
than too little: a student has the unlabeled set as well, and under noise that merely suits the few labels it learns
nothing new (NOTEBOOK.md has the trials). For the same reason the weakest candidate is used without a search where a
class has a single label, which no cross-fitting can test. The likelihood would be a finer measure, but it rewards
strong noise for the calibration that it brings, and it chose strengths under which students fell below their teachers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.folder import read_manifest
from noisystudent.artifacts.typed_json import to_json, write_result
from noisystudent.data.checks import listed
from noisystudent.data.splits import HeldOut, HeldOutPredictions
from noisystudent.data.stratified import cross_fit_folds, single_labels
from noisystudent.display.wording import percent
from noisystudent.evaluation.metrics.calibration import negative_log_likelihood
from noisystudent.models.checkpoint import CHECKPOINT
from noisystudent.models.settings import ModelPlan
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.score_stage import predict
from noisystudent.pipeline.stages.train import train
from noisystudent.pipeline.stages.train_data import supervised_spec
from noisystudent.pipeline.summary import CrossFit
from noisystudent.pseudo_labels.shift import HeldOutAnswers
from noisystudent.results.facts import StrengthCandidate, StrengthChoice
from noisystudent.results.run import StageCost
from noisystudent.runtime.progress import Reporter

STRENGTH = "strength"
FEW_LABELS = "few labels"  # how a strength was chosen where no candidates could be compared
CHOICE = f"{STRENGTH}/choice"  # the stage
FOLDS = 2  # a class with fewer labels than folds would be missing from a teacher's labels


def choose_strength(context: RunContext, plan: ModelPlan) -> float:
    """The noise strength of the run: the setting, or the weakest candidate that is about as good as the best.

    Writes ``strength/choice/summary.json``, which the page shows.
    """
    noise = context.settings.noise
    if noise.strength != "auto":
        return noise.strength
    context.costs.begin(CHOICE, context.folder_of(CHOICE))  # it predicts what the candidates are compared by
    choice = _choice(context, plan)
    predicted = sum(candidate.labels or 0 for candidate in choice.candidates)
    inputs: dict[str, Any] = {"candidates": [to_json(candidate) for candidate in choice.candidates], "by": choice.by}
    if choice.by == FEW_LABELS:
        inputs["chosen"] = choice.chosen
    if not context.is_complete(CHOICE, inputs):

        def write() -> None:
            write_result(context.folder_of(CHOICE) / "summary.json", choice)
            context.commit(STRENGTH, inputs, StageCost(name=CHOICE, images_predicted=predicted))

        context.engine.group.on_main(write)
    if not context.dry and choice.candidates:
        context.reporter.say(_choice_in_words(choice))
    return choice.chosen


def _choice_in_words(choice: StrengthChoice) -> str:
    """Which strength the run uses, and what the candidates were compared by."""
    tried = ", ".join(f"{candidate.strength:g}: {percent(candidate.top1)}" for candidate in choice.candidates)
    labels = "the validation labels" if choice.by == "validation" else "labels that their models did not see"
    return (
        f"noise strength {choice.chosen:g}: the weakest that is about as good as the best on {labels} ({tried} right)"
    )


def searched_strengths(context: RunContext) -> tuple[float, ...]:
    """The strengths that the run compares; none where it is given, or a class has a single label to compare by."""
    noise, splits = context.settings.noise, context.splits
    if noise.strength != "auto" or (splits.validation is None and single_labels(splits.labeled.labels)):
        return ()
    return noise.strengths


def _choice(context: RunContext, plan: ModelPlan) -> StrengthChoice:
    splits, strengths = context.splits, searched_strengths(context)
    if not strengths:
        chosen = min(context.settings.noise.strengths)
        names = listed([splits.classes[label] for label in single_labels(splits.labeled.labels)])
        context.reporter.say(
            f"noise.strength auto: cross-fitting needs at least 2 labels per class, and there is 1 of {names}; "
            f"strength {chosen:g}, the weakest of noise.strengths, is used without a search. Label more of these, or "
            "give --noise.strength, for another one."
        )
        return StrengthChoice(chosen=chosen, by=FEW_LABELS)
    candidates = compare_strengths({strength: _held_out_predictions(context, plan, strength) for strength in strengths})
    by = "validation" if splits.validation else "cross-fitting"
    return StrengthChoice(chosen=weakest_as_good(candidates), by=by, candidates=tuple(candidates))


def cross_fit_of(context: RunContext, plan: ModelPlan, strength: float) -> CrossFit | None:
    """What the teachers of the chosen strength answer for labels that they did not see; None without such teachers."""
    if context.splits.validation or strength not in searched_strengths(context):
        return None
    folders = [context.folder_of(f"{STRENGTH}/{strength:g}-fold-{fold + 1}") for fold in range(FOLDS)]

    def answers() -> HeldOutAnswers:
        held_out = _held_out_predictions(replace(context, reporter=Reporter(quiet=True)), plan, strength)
        row_of = {key: row for row, key in enumerate(held_out.keys)}
        rows = [row_of[key] for key in context.splits.labeled.keys]
        return HeldOutAnswers(held_out.log_probabilities[rows], held_out.labels[rows])

    return CrossFit({"folds": [read_manifest(folder, CHECKPOINT).fingerprint for folder in folders]}, answers)


def compare_strengths(by_strength: Mapping[float, HeldOutPredictions]) -> list[StrengthCandidate]:
    """The candidates with their scores; all predictions must be of the same labels in the same order."""
    correct = {strength: _correct(held) for strength, held in by_strength.items()}
    best = max(correct.values(), key=lambda values: float(values.mean()))
    return [
        StrengthCandidate(
            strength=strength,
            top1=float(correct[strength].mean()),
            nll=negative_log_likelihood(held.log_probabilities, held.labels),
            behind=float((best - correct[strength]).mean()),
            standard_error=_standard_error(best - correct[strength]),
            labels=len(held.labels),
        )
        for strength, held in by_strength.items()
    ]


def _standard_error(differences: npt.NDArray[np.float64]) -> float:
    """Of the mean difference; 0 for a single label, which shows nothing of it."""
    return float(differences.std(ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else 0.0


def weakest_as_good(candidates: Sequence[StrengthCandidate]) -> float:
    """The smallest strength whose accuracy is at most two standard errors below the best."""
    return min(
        candidate.strength
        for candidate in candidates
        if candidate.behind is not None
        and candidate.standard_error is not None
        and candidate.behind <= 2 * candidate.standard_error
    )


def _correct(held: HeldOutPredictions) -> npt.NDArray[np.float64]:
    """1 for every label that is predicted, 0 for the others: [N]."""
    correct: npt.NDArray[np.float64] = (held.log_probabilities.argmax(axis=1) == held.labels).astype(np.float64)
    return correct


def fold_steps(steps: int) -> int:
    """Steps of a teacher of all folds but one, when a stage on all labels has ``steps``."""
    return max(1, round(steps * (FOLDS - 1) / FOLDS))


def _held_out_predictions(context: RunContext, plan: ModelPlan, strength: float) -> HeldOutPredictions:
    """Predictions by teachers trained with ``strength``, on labels that they did not train on."""
    labeled, validation = context.splits.labeled, context.splits.validation
    if validation:
        return _train_and_predict(context, plan, f"{STRENGTH}/{strength:g}", strength, None, validation)
    folds = cross_fit_folds(labeled.labels, FOLDS, context.settings.seed)
    shorter = context.with_steps(fold_steps(context.settings.train.steps))
    parts = []
    for number, fold in enumerate(folds):
        rest = np.concatenate([other for i, other in enumerate(folds) if i != number])
        stage = f"{STRENGTH}/{strength:g}-fold-{number + 1}"
        held_out = HeldOut(labeled.take(fold))
        parts.append(_train_and_predict(shorter, plan, stage, strength, np.sort(rest), held_out))
    return HeldOutPredictions(
        tuple(key for part in parts for key in part.keys),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.log_probabilities for part in parts]),
    )


def _train_and_predict(
    context: RunContext,
    plan: ModelPlan,
    stage: str,
    strength: float,
    rows: npt.NDArray[np.int64] | None,
    held_out: HeldOut,
) -> HeldOutPredictions:
    teacher = train(context, stage, plan, supervised_spec(context, rows), strength).teacher(context.device)
    return held_out.predict_and_join(lambda images: predict(context, teacher, images))
