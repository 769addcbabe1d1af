"""How strong the noise should be: chosen in the teacher's stage among a handful, never on test data.

With a validation source every candidate trains a teacher on all labels and is judged there. Without one the labels
are cross-fitted: every label is judged by a teacher that has not seen it. A teacher of a part of the labels trains for
that part of the steps, so that each label is seen as often as in the teacher's own stage: more often would ask for
more noise.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from noisystudent.artifacts import commit, write_json
from noisystudent.data.roles import HeldOut, Judged
from noisystudent.data.split import cross_fit_folds
from noisystudent.evaluation.accuracy import top_k
from noisystudent.evaluation.calibration import negative_log_likelihood
from noisystudent.models.settings import ModelPlan
from noisystudent.rounds.stages import labeled_lesson, predict, train
from noisystudent.rounds.workshop import Workshop

STRENGTH = "strength"
FOLDS = 2  # fewer labels a class than folds would leave a class untaught


@dataclass(frozen=True)
class Candidate:
    """One strength and what teachers trained with it get right on labels that they did not see."""

    strength: float
    top1: float
    nll: float
    labels: int


def choose_strength(workshop: Workshop, plan: ModelPlan, name: str = STRENGTH) -> float:
    """The noise strength of the run: the setting, or the candidate with the lowest held-out NLL.

    NLL, not accuracy, because it moves with every label: with 40 labels accuracy moves in steps of 2.5 points.
    Writes ``summary.json`` into the folder ``name``; the report shows it.
    """
    noise = workshop.settings.noise
    if noise.strength != "auto":
        return noise.strength
    by = "validation" if workshop.roles.validation else "cross-fitting"
    judged = {strength: _judge(workshop, plan, name, strength) for strength in noise.strengths}
    candidates = [
        Candidate(
            strength,
            top_k(each.log_probabilities, each.labels, 1),
            negative_log_likelihood(each.log_probabilities, each.labels),
            len(each.labels),
        )
        for strength, each in judged.items()
    ]
    chosen = min(candidates, key=lambda candidate: (candidate.nll, candidate.strength)).strength
    inputs: dict[str, Any] = {"candidates": [asdict(candidate) for candidate in candidates], "by": by}
    if not workshop.is_done(f"{name}/choice", inputs):
        folder = workshop.folder / name
        write_json(folder / "summary.json", {"chosen": chosen, **inputs})
        commit(folder / "choice", STRENGTH, inputs)
    return chosen


def fold_steps(steps: int) -> int:
    """Steps of a teacher of all folds but one, when a stage on all labels has ``steps``."""
    return max(1, round(steps * (FOLDS - 1) / FOLDS))


def _judge(workshop: Workshop, plan: ModelPlan, name: str, strength: float) -> Judged:
    """Teachers trained with ``strength``, judged on labels that they did not train on."""
    labeled, validation = workshop.roles.labeled, workshop.roles.validation
    if validation:
        return _train_and_judge(workshop, plan, f"{name}/{strength:g}", strength, None, validation)
    folds = cross_fit_folds(labeled.labels, FOLDS, workshop.settings.seed)
    shorter = workshop.with_steps(fold_steps(workshop.settings.train.steps))
    parts = []
    for number, fold in enumerate(folds):
        rest = np.concatenate([other for i, other in enumerate(folds) if i != number])
        stage = f"{name}/{strength:g}-fold-{number + 1}"
        parts.append(_train_and_judge(shorter, plan, stage, strength, np.sort(rest), HeldOut(labeled.take(fold))))
    return Judged(
        tuple(key for part in parts for key in part.keys),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.log_probabilities for part in parts]),
    )


def _train_and_judge(
    workshop: Workshop, plan: ModelPlan, name: str, strength: float, rows: np.ndarray | None, held_out: HeldOut
) -> Judged:
    trained = train(workshop, name, plan, labeled_lesson(workshop, rows), strength)
    teacher = trained.teacher(workshop.device)
    return held_out.judge(lambda pictures: predict(workshop, teacher, pictures))
