"""The end of a run: its records, the verdict, the summary, and the delivered model."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from noisystudent.evaluation.results import ComparisonResult
from noisystudent.evaluation.verdict import UNLABELED, Verdict, compare_with_controls, reach_verdict
from noisystudent.models.calibration import Calibration, write_calibration
from noisystudent.models.card import CARD
from noisystudent.models.checkpoint import CHECKPOINT, CONFIG, WEIGHTS
from noisystudent.pipeline.checkpoints import BESIDE_WEIGHTS, Checkpoint, TrainedModel
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.controls import Controls
from noisystudent.pipeline.delivery import describe_delivery
from noisystudent.pipeline.fix.in_run import FixedModel
from noisystudent.pipeline.pretraining.checks import pretrains
from noisystudent.pipeline.score_stage import EvalResult, ScoredCheckpoint
from noisystudent.pseudo_labels.selection.results import SelectionSummary
from noisystudent.pseudo_labels.shift import HeldOutAnswers
from noisystudent.results.run import (
    Baseline,
    ChosenBy,
    EvaluatedModel,
    RoundResult,
    RoundTeacher,
    RunSummary,
    StageCost,
)

BEST = "best"
# In a verdict; the controls of such a run start from what was learned of the unlabeled images, too.
AFTER_PRETRAINING = "learning from pseudo labels after pretraining"


@dataclass(frozen=True)
class Round:
    """One round: its student, what was selected for it, and how the pseudo labels looked.

    The online student is the last round; nothing is stored or selected for it.
    """

    student: ScoredCheckpoint[Checkpoint]
    worse: bool
    selection: SelectionSummary | None = None
    pseudo_labels: dict[str, float | None] | None = None
    diagnostics: dict[str, float | None] | None = None
    drift: tuple[str, ...] = ()
    teachers: tuple[RoundTeacher, ...] = ()

    @property
    def name(self) -> str:
        """How results call it: ``round 1``, or ``online``."""
        return self.student.checkpoint.name.removesuffix("/student").replace("-", " ")


@dataclass(frozen=True)
class CrossFit:
    """Answers for the labels by models that did not learn from them: what decides them, and how to get them."""

    inputs: Mapping[str, Any]
    answers: Callable[[], HeldOutAnswers]


@dataclass(frozen=True)
class RunResult:
    """All models of a run with their scores, in the order in which they were trained.

    ``calibration`` is that of the delivered model, where there are labels to fit it on; ``cross_fit`` is None where no
    models without a part of the labels were trained. ``chose_round``: whether the student learned in a round instead of
    online, because its teacher was weak.
    """

    teacher: ScoredCheckpoint[Checkpoint]
    rounds: list[Round]
    controls: Controls
    delivered: ScoredCheckpoint[Checkpoint]
    chosen_by: ChosenBy
    calibration: Calibration | None = None
    cross_fit: CrossFit | None = None
    small_student: ScoredCheckpoint[Checkpoint] | None = None
    fixed: tuple[FixedModel, ...] = ()
    chose_round: bool = False

    @property
    def checkpoints(self) -> dict[str, TrainedModel]:
        """Every model by name, the control first: the others are compared with it; further controls are left out."""
        control: dict[str, TrainedModel] = {
            model.checkpoint.name: model.checkpoint for model in self.controls.trained[:1]
        }
        students = {record.name: record.student.checkpoint for record in self.rounds}
        small = {"small student": self.small_student.checkpoint} if self.small_student else {}
        fixed = {model.name: model.after.checkpoint for model in self.fixed}
        return {**control, "teacher": self.teacher.checkpoint, **students, **small, **fixed}

    @property
    def contexts_of_fixed(self) -> dict[str, RunContext]:
        """The images at which fixed models are measured, by the name of the model."""
        return {model.name: model.context for model in self.fixed}


def summarize(
    context: RunContext, result: RunResult, robustness: ComparisonResult | None, baselines: tuple[Baseline, ...] = ()
) -> RunSummary:
    """The summary of a run, with what it took until now."""
    rounds = tuple(
        round_result(
            record.student,
            record.name,
            worse=record.worse,
            selection=record.selection,
            pseudo_labels=record.pseudo_labels,
            diagnostics=record.diagnostics,
            drift=record.drift,
            teachers=record.teachers,
        )
        for record in result.rounds
    )
    fixed_controls = [model.after for model in result.fixed if model.is_labels_only]
    labels_only = (result.teacher, *result.controls.trained, *result.controls.of_steps, *fixed_controls)
    controls = evaluated_controls(result.controls.trained)
    return RunSummary(
        recipe=context.settings.recipe,
        seed=context.settings.seed,
        classes=context.splits.classes,
        teacher=evaluated_model(result.teacher, "teacher"),
        control=controls[0] if controls else None,
        further_controls=controls[1:],
        control_length=result.controls.length,
        controls_of_steps=evaluated_controls(result.controls.of_steps),
        rounds=rounds,
        student=evaluated_model(result.delivered, "student"),
        small_student=evaluated_model(result.small_student, "small student") if result.small_student else None,
        delivered=result.delivered.checkpoint.name.removesuffix("/student"),
        delivery=describe_delivery(result.delivered, labels_only, result.chosen_by),
        verdict=verdict_of(result, AFTER_PRETRAINING if pretrains(context.settings) else UNLABELED),
        robustness=robustness,
        baselines=baselines,
        fixed=tuple(model.result for model in result.fixed),
        cost=context.total_cost(),
    )


def verdict_of(result: RunResult, treatment: str = UNLABELED) -> Verdict:
    """The verdict on the student of ``judged_student``, which had a ``treatment``, against labels-only training."""
    if not result.rounds:
        reason = "no student was trained, because the budget went into labels-only training"
        return Verdict(decision="no clear gain", reason=reason, treatment=treatment)
    student = judged_student(result.rounds)
    if student.result.correct and not result.controls.trained:
        reason = "no control was trained (rounds.controls 0)"
        return Verdict(decision="no clear gain", reason=reason, treatment=treatment)
    return compare_models(student, result.controls, treatment)


def judged_student(rounds: Sequence[Round]) -> ScoredCheckpoint[Checkpoint]:
    """The last student that was kept; where none was, the last one, so that the verdict says so."""
    kept = [record.student for record in rounds if not record.worse]
    return kept[-1] if kept else rounds[-1].student


def compare_models(student: ScoredCheckpoint[TrainedModel], controls: Controls, treatment: str = UNLABELED) -> Verdict:
    """The verdict on a student with a ``treatment`` against controls without it, on test, else validation labels."""
    for role in ("test", "validation"):
        if role in student.result.correct:
            others = [control.result.correct[role] for control in controls.all]
            comparison = compare_with_controls(student.result.correct[role], others, luck=controls.luck)
            return reach_verdict(comparison, "test" if role == "test" else "validation", treatment)
    return reach_verdict(None, "none", treatment)


def evaluated_controls(controls: Sequence[ScoredCheckpoint[Checkpoint]]) -> tuple[EvaluatedModel, ...]:
    """The controls that were trained as the summary has them: ``control``, ``control 2`` and so on."""
    return tuple(evaluated_model(model, model.checkpoint.name.replace("-", " ")) for model in controls)


def evaluated_model(model: ScoredCheckpoint[TrainedModel], name: str) -> EvaluatedModel:
    """A model as the summary has it."""
    checkpoint, scores = model.checkpoint, model.result.scores
    return EvaluatedModel(
        name=name,
        model=checkpoint.model,
        parameters=checkpoint.parameters,
        samples_seen=checkpoint.samples_seen,
        seconds=checkpoint.seconds,
        validation=scores.get("validation"),
        test=scores.get("test"),
    )


def round_result(
    student: ScoredCheckpoint[TrainedModel],
    name: str,
    *,
    worse: bool = False,
    selection: SelectionSummary | None = None,
    pseudo_labels: dict[str, float | None] | None = None,
    diagnostics: dict[str, float | None] | None = None,
    drift: tuple[str, ...] = (),
    teachers: tuple[RoundTeacher, ...] = (),
) -> RoundResult:
    """A student as the summary has it, with what it learned from."""
    checkpoint, scores = student.checkpoint, student.result.scores
    return RoundResult(
        name=name,
        model=checkpoint.model,
        parameters=checkpoint.parameters,
        samples_seen=checkpoint.samples_seen,
        seconds=checkpoint.seconds,
        validation=scores.get("validation"),
        test=scores.get("test"),
        round=student.round,
        worse=worse,
        selected=selection.selected if selection else None,
        copies=selection.copies if selection else None,
        pseudo_labels=pseudo_labels,
        diagnostics=diagnostics,
        drift=drift,
        teachers=teachers,
    )


def mean_of(result: EvalResult, members: Sequence[TrainedModel], name: str) -> EvaluatedModel:
    """The mean of several models as the summary has it."""
    return EvaluatedModel(
        name=name,
        model=", ".join(dict.fromkeys(member.model for member in members)),
        parameters=sum(member.parameters for member in members),
        samples_seen=sum(member.samples_seen for member in members),
        seconds=sum(member.seconds for member in members),
        validation=result.scores.get("validation"),
        test=result.scores.get("test"),
    )


def deliver(context: RunContext, checkpoint: Checkpoint, calibration: Calibration | None) -> None:
    """Copies the delivered checkpoint to ``best/``, with its temperature; a copy can be taken anywhere."""
    inputs: dict[str, Any] = {"checkpoint": checkpoint.fingerprint, "name": checkpoint.name}
    if calibration:
        inputs["calibration"] = asdict(calibration)
    if context.is_complete(BEST, inputs):
        return
    folder = context.folder_of(BEST)

    def copy() -> None:
        for name in (CONFIG, WEIGHTS, CARD, *BESIDE_WEIGHTS):
            if (checkpoint.folder / name).exists():
                shutil.copyfile(checkpoint.folder / name, folder / name)
        if calibration:
            write_calibration(folder, calibration)
        context.commit(CHECKPOINT, inputs, StageCost(name=BEST), volatile=BESIDE_WEIGHTS, editable=(CARD,))

    context.engine.group.on_main(copy)
