"""How strong the noise should be: chosen in the teacher's stage among a handful, never on test data.

With a validation source every candidate trains a teacher on all labels and is judged there. Without one the labels
are cross-fitted: every label is judged by a teacher that has not seen it. A teacher of a part of the labels trains for
that part of the steps, so that each label is seen as often as in the teacher's own stage: more often would ask for
more noise.

The weakest candidate is taken whose accuracy is at most two standard errors behind the best's. Too much noise costs
far more than too little: a student has the pile as well, and under noise that merely suits the few labels it learns
nothing new (NOTEBOOK.md has the trials). The likelihood would be a finer measure, but it rewards strong noise for the
calibration that it brings, and chose strengths under which students fell below their teachers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.folder import commit, write_json
from noisystudent.data.splits import HeldOut, HeldOutPredictions
from noisystudent.data.stratified import cross_fit_folds
from noisystudent.evaluation.metrics.calibration import negative_log_likelihood
from noisystudent.models.settings import ModelPlan
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.score_stage import predict
from noisystudent.pipeline.train_data import supervised_spec
from noisystudent.pipeline.train_stage import train

STRENGTH = "strength"
FOLDS = 2  # fewer labels a class than folds would leave a class untaught


@dataclass(frozen=True)
class Candidate:
    """One strength, judged on labels that its teachers did not see.

    ``behind`` is how much its accuracy falls short of the best candidate's, and ``standard_error`` that of this
    difference, paired over labels.
    """

    strength: float
    top1: float
    nll: float
    behind: float
    standard_error: float
    labels: int


def choose_strength(context: RunContext, plan: ModelPlan, name: str = STRENGTH) -> float:
    """The noise strength of the run: the setting, or the weakest candidate that is about as good as the best.

    Writes ``summary.json`` into the folder ``name``; the report shows it.
    """
    noise = context.settings.noise
    if noise.strength != "auto":
        return noise.strength
    by = "validation" if context.splits.validation else "cross-fitting"
    candidates = compare_strengths({each: _judge(context, plan, name, each) for each in noise.strengths})
    chosen = weakest_as_good(candidates)
    inputs: dict[str, Any] = {"candidates": [asdict(candidate) for candidate in candidates], "by": by}
    if not context.is_done(f"{name}/choice", inputs):
        folder = context.folder / name

        def write() -> None:
            write_json(folder / "summary.json", {"chosen": chosen, **inputs})
            commit(folder / "choice", STRENGTH, inputs)

        context.engine.group.on_main(write)
    return chosen


def compare_strengths(judged: Mapping[float, HeldOutPredictions]) -> list[Candidate]:
    """The candidates with their scores; all must be judged on the same labels in the same order."""
    correct = {strength: _right(each) for strength, each in judged.items()}
    best = max(correct.values(), key=lambda each: float(each.mean()))
    return [
        Candidate(
            strength=strength,
            top1=float(correct[strength].mean()),
            nll=negative_log_likelihood(each.log_probabilities, each.labels),
            behind=float((best - correct[strength]).mean()),
            standard_error=float((best - correct[strength]).std(ddof=1) / np.sqrt(len(best))),
            labels=len(each.labels),
        )
        for strength, each in judged.items()
    ]


def weakest_as_good(candidates: Sequence[Candidate]) -> float:
    """The smallest strength whose accuracy is at most two standard errors behind the best's."""
    return min(each.strength for each in candidates if each.behind <= 2 * each.standard_error)


def _right(judged: HeldOutPredictions) -> npt.NDArray[np.float64]:
    """1 for every label that is predicted, 0 for the others: [N]."""
    correct: npt.NDArray[np.float64] = (judged.log_probabilities.argmax(axis=1) == judged.labels).astype(np.float64)
    return correct


def fold_steps(steps: int) -> int:
    """Steps of a teacher of all folds but one, when a stage on all labels has ``steps``."""
    return max(1, round(steps * (FOLDS - 1) / FOLDS))


def _judge(context: RunContext, plan: ModelPlan, name: str, strength: float) -> HeldOutPredictions:
    """Teachers trained with ``strength``, judged on labels that they did not train on."""
    labeled, validation = context.splits.labeled, context.splits.validation
    if validation:
        return _train_and_judge(context, plan, f"{name}/{strength:g}", strength, None, validation)
    folds = cross_fit_folds(labeled.labels, FOLDS, context.settings.seed)
    shorter = context.with_steps(fold_steps(context.settings.train.steps))
    parts = []
    for number, fold in enumerate(folds):
        rest = np.concatenate([other for i, other in enumerate(folds) if i != number])
        stage = f"{name}/{strength:g}-fold-{number + 1}"
        parts.append(_train_and_judge(shorter, plan, stage, strength, np.sort(rest), HeldOut(labeled.take(fold))))
    return HeldOutPredictions(
        tuple(key for part in parts for key in part.keys),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.log_probabilities for part in parts]),
    )


def _train_and_judge(
    context: RunContext, plan: ModelPlan, name: str, strength: float, rows: np.ndarray | None, held_out: HeldOut
) -> HeldOutPredictions:
    checkpoint = train(context, name, plan, supervised_spec(context, rows), strength)
    teacher = checkpoint.teacher(context.device)
    return held_out.judge(lambda images: predict(context, teacher, images))
