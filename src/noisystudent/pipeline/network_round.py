"""One round of whole networks: who labels, what is selected, what the student is measured by, and what is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from noisystudent.artifacts.folder import write_json
from noisystudent.artifacts.typed_json import read_result, to_json
from noisystudent.models.settings import ModelPlan
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.delivery import is_worse
from noisystudent.pipeline.events import tell_round
from noisystudent.pipeline.labels.class_shares import (
    CLASS_SHARES,
    align_predictions,
    labeling_stage,
    shares_for_network,
)
from noisystudent.pipeline.labels.foreign import network_typicality
from noisystudent.pipeline.labels.neighbors import average_with_neighbors
from noisystudent.pipeline.labels.pseudo_labels import (
    diagnose_labels,
    label_unlabeled,
    pseudo_label_accuracy,
    say_drift,
    select_pseudo_labels,
)
from noisystudent.pipeline.labels.teachers import RoundTeachers, round_teachers
from noisystudent.pipeline.score_stage import ScoredCheckpoint, score_checkpoint
from noisystudent.pipeline.stages.noise import input_noise
from noisystudent.pipeline.stages.online import ONLINE, STUDENT
from noisystudent.pipeline.stages.online_checks import goes_on, students_of
from noisystudent.pipeline.stages.student import start_from
from noisystudent.pipeline.stages.train import train
from noisystudent.pipeline.stages.train_data import TrainSpec
from noisystudent.pipeline.summary import Round
from noisystudent.pseudo_labels.selection.results import SelectionSummary


def label_and_select(
    context: RunContext,
    kept: Sequence[ScoredCheckpoint[Checkpoint]],
    plans: Sequence[ModelPlan],
    strength: float,
    number: int,
    first_selection: Path | None,
) -> tuple[RoundTeachers, Path, Path]:
    """Who labels in a round, and the folders of its predictions, changed where the settings say so, and selection.

    Args:
        context: The run.
        kept: The teacher and the students that were kept; the last one labels, or several of them.
        plans: The model of the teacher and of every student.
        strength: The noise strength.
        number: The round, from 1.
        first_selection: The folder of the first round's selection, which ``selection.once`` takes again.
    """
    teachers = round_teachers(context, kept, number)
    stage = labeling_stage(context.settings, number)
    noise = input_noise(context, stage, plans[kept[-1].round], strength) if context.settings.noise.teacher else None
    teacher, unlabeled = teachers.model, context.splits.unlabeled
    typicality = network_typicality(context, kept[-1].checkpoint)
    predictions = label_unlabeled(
        context, stage, teacher, unlabeled, noise=noise, typicality=typicality, passes=teachers.passes
    )
    if context.settings.selection.neighbors == "mean":
        predictions = average_with_neighbors(context, f"round-{number}/predictions", predictions, kept[-1].checkpoint)
    aim = shares_for_network(context, f"round-{number}/{CLASS_SHARES}", predictions, teacher)
    if aim and context.settings.selection.align == "prior":
        predictions = align_predictions(context, f"round-{number}/predictions", predictions, aim)
    selection = select_pseudo_labels(context, f"round-{number}/selection", predictions, number, first_selection, aim)
    return teachers, predictions, selection


def describe_round(
    context: RunContext,
    before: list[Round],
    student: ScoredCheckpoint[Checkpoint],
    worse: bool,
    labeled: tuple[RoundTeachers, Path, Path],
    previous: Path | None,
) -> Round:
    """A round with the accuracy and the signs of its pseudo labels, printed and written.

    Args:
        context: The run.
        before: The rounds before it.
        student: Its student.
        worse: Whether validation shows the student to be worse than the best model before it.
        labeled: What ``label_and_select`` returned.
        previous: The folder of the predictions of the round before.
    """
    teachers, predictions, selection = labeled
    accuracy = pseudo_label_accuracy(context, predictions, selection)
    diagnostics = diagnose_labels(context, predictions, previous)
    summary = read_result(SelectionSummary, selection / "summary.json")
    drift = say_drift(context, [*(record.selection for record in before if record.selection), summary])
    record = Round(student, worse, summary, accuracy, diagnostics, drift, teachers.members)
    tell_round(context, record)
    _write_round(context, record)
    return record


def online_round(
    context: RunContext,
    spec: TrainSpec,
    current: ScoredCheckpoint[Checkpoint],
    best: ScoredCheckpoint[Checkpoint],
    plan: ModelPlan,
    strength: float,
) -> Round:
    """The student that learns online, after the rounds, and whether it is worse than the best model before it.

    Args:
        context: The run.
        spec: What it learns from.
        current: The last model that was kept, whose weights it may start from.
        best: The best model before it.
        plan: Its model.
        strength: The noise strength.
    """
    start = start_from(context, current.checkpoint, plan) if goes_on(context.settings) else None
    checkpoint = train(context, STUDENT, plan, spec, strength, start=start)
    scored = score_checkpoint(context, ONLINE, checkpoint)
    student = ScoredCheckpoint(students_of(context.settings), checkpoint, scored)
    record = Round(student, is_worse(student, best, context.settings.rounds.worse_p))
    tell_round(context, record)
    _write_round(context, record)
    if record.worse:
        context.reporter.say(
            f"the online student is not kept: validation shows it to be worse than {best.checkpoint.name}"
        )
    return record


def _write_round(context: RunContext, record: Round) -> None:
    if context.dry or not context.engine.group.is_main:
        return
    scores = {role: to_json(value) if value else None for role, value in record.student.result.scores.items()}
    content = {
        **scores,
        "unlabeled": record.pseudo_labels,
        "diagnostics": record.diagnostics,
        "drift": record.drift,
        "worse": record.worse,
    }
    write_json(record.student.checkpoint.folder.parent / "scores.json", content)
