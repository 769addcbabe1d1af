"""The story of a run: a teacher learns, labels the pile, a noised student learns from both and teaches the next."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from noisystudent.artifacts.folder import read_json, write_json
from noisystudent.config import Resolved, RunSettings
from noisystudent.errors import ModelError, SettingsError
from noisystudent.evaluation.verdict import compare
from noisystudent.models.settings import ModelPlan, plan_models
from noisystudent.noise.custom import BatchTransform
from noisystudent.pipeline.autotune import autotune
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext, build_context, describe_run, run_lock
from noisystudent.pipeline.leakage import remove_leakage
from noisystudent.pipeline.noise_search import choose_strength
from noisystudent.pipeline.page_images import write_noise_sheet
from noisystudent.pipeline.pseudo_labels import diagnose_labels, label_unlabeled, pseudo_label_accuracy, select_from
from noisystudent.pipeline.robustness import check_measurable, measure_robustness
from noisystudent.pipeline.score_stage import score_checkpoint
from noisystudent.pipeline.summary import EvaluatedModel, Round, RunResult, deliver, summarize
from noisystudent.pipeline.train_data import TeacherRef, student_spec, supervised_spec
from noisystudent.pipeline.train_stage import input_noise, train
from noisystudent.runtime.progress import Reporter


def run(
    resolved: Resolved,
    *,
    reporter: Reporter,
    custom_noise: BatchTransform | None = None,
    command: list[str] | None = None,
) -> dict[str, Any]:
    """Runs Noisy Student training to its end, or on to its end, and returns what summary.json holds.

    ``custom_noise`` is the user's own, beside that of the settings.

    Everything that an earlier try finished from the same inputs is taken as it is. Processes that torchrun started
    share the work; the first one writes. Raises ``NoisyStudentError``.
    """
    folder = Path(resolved.settings.out)
    with run_lock(folder):
        context = remove_leakage(build_context(resolved.settings, reporter, custom_noise=custom_noise))
        check_measurable(context)
        first = context.engine.group.is_main
        if first:
            write_json(folder / "run.json", describe_run(resolved, context, command or sys.argv))
        started = time.monotonic()
        told = tell(context)
        deliver(context, told.delivered.checkpoint)
        robustness = measure_robustness(context, told.evaluated_models)
        summary = summarize(context, told, robustness, seconds=time.monotonic() - started)
        if first:
            write_json(folder / "summary.json", summary)
        return summary


def tell(context: RunContext) -> RunResult:
    """The rounds themselves."""
    settings = context.settings
    check_distillation(settings)
    settings.distillation.require_classes(len(context.splits.classes))
    plans = plan_models(settings.model, settings.rounds.count, context.splits.format.size)
    context = autotune(context, plans[0])
    strength = choose_strength(context, plans[0])
    checkpoint = train(context, "teacher", plans[0], supervised_spec(context), strength)
    teacher = best = EvaluatedModel(0, checkpoint, score_checkpoint(context, "teacher", checkpoint))
    current, first_selection, before = teacher, None, None
    rounds: list[Round] = []

    for number, plan in enumerate(plans[1:], start=1):
        predictions_name = f"round-{number}/predictions"
        noise = (
            input_noise(context, predictions_name, plans[current.round], strength) if settings.noise.teacher else None
        )
        predicted = label_unlabeled(
            context, predictions_name, current.checkpoint, context.splits.unlabeled, noise=noise
        )
        selected = select_from(context, f"round-{number}/selection", predicted, number, first_selection)
        if settings.selection.once and first_selection is None:
            first_selection = selected
        spec = student_spec(context, predicted, selected)
        if settings.distillation.method != "none":
            teacher_ref = TeacherRef(current.checkpoint, f"round-{number}/labeled-predictions", predictions_name)
            spec = spec.taught(settings.distillation, [teacher_ref])
        start = _warm_start(context, current.checkpoint, plan)
        checkpoint = train(context, f"round-{number}/student", plan, spec, strength, start=start)
        student = EvaluatedModel(number, checkpoint, score_checkpoint(context, f"round-{number}", checkpoint))

        rolled_back = is_worse(student, best, settings.rounds.rollback_p)
        quality, diagnostics = (
            pseudo_label_accuracy(context, predicted, selected),
            diagnose_labels(context, predicted, before),
        )
        rounds.append(Round(number, student, rolled_back, read_json(selected / "summary.json"), quality, diagnostics))
        before = predicted
        _write_round(context, rounds[-1])
        if rolled_back:
            context.reporter.say(
                f"round {number} is rolled back: validation shows it to be worse than {best.checkpoint.name}"
            )
            continue
        current = student
        best = max(best, student, key=_validation_top1)

    control = _control(context, plans[-1], rounds[-1].student.checkpoint, strength) if settings.rounds.control else None
    delivered = current
    if control and is_worse(current, control, settings.rounds.rollback_p):
        context.reporter.say(
            "validation shows the labels-only control to be better than every student: it is delivered"
        )
        delivered = control
    if not context.dry and context.engine.group.is_main:
        write_noise_sheet(context, plans[0], strength)
    return RunResult(teacher, rounds, control, delivered)


def check_distillation(settings: RunSettings) -> None:
    """Raises ``SettingsError`` where the settings of distillation do not fit into rounds."""
    distillation = settings.distillation
    if distillation.teachers or distillation.students != ("auto",):
        raise SettingsError(
            "distillation.teachers and students are for distill; in a run the model.* settings say who they are."
        )
    if distillation.taught and settings.noise.teacher:
        raise SettingsError(
            f"noise.teacher noises the teacher that labels, and distillation.method {distillation.method} has one that "
            "is never noised; leave one of the two out."
        )


def is_worse(student: EvaluatedModel, other: EvaluatedModel, p_value: float) -> bool:
    """Whether validation shows ``student`` to be worse than ``other``; without validation nothing can show it."""
    if "validation" not in student.eval_result.correct:
        return False
    found = compare(student.eval_result.correct["validation"], other.eval_result.correct["validation"])
    return found.difference < 0 and found.p_value < p_value


def _validation_top1(evaluated: EvaluatedModel) -> tuple[float, int]:
    validation = evaluated.eval_result.scores["validation"]
    return (validation["top1"] if validation else 0.0, evaluated.round)


def _warm_start(context: RunContext, teacher: Checkpoint, plan: ModelPlan) -> Checkpoint | None:
    if not context.settings.train.warm_start:
        return None
    if plan.name != teacher.model:
        raise ModelError(
            f"train.warm_start needs students of their teacher's model, but the teacher is {teacher.model!r} and the "
            f"student {plan.name!r}; use one model, or train.warm_start false."
        )
    return teacher


def _control(context: RunContext, plan: ModelPlan, student: Checkpoint, strength: float) -> EvaluatedModel:
    """The labels alone, with the final student's model, noise and samples seen."""
    checkpoint = train(context, "control", plan, supervised_spec(context), strength)
    assert checkpoint.samples_seen == student.samples_seen
    return EvaluatedModel(0, checkpoint, score_checkpoint(context, "control", checkpoint))


def _write_round(context: RunContext, each: Round) -> None:
    if not context.dry and context.engine.group.is_main:
        scores = {**each.student.eval_result.scores, "unlabeled": each.pseudo_labels, "diagnostics": each.diagnostics}
        write_json(context.folder / f"round-{each.number}" / "scores.json", {**scores, "rolled_back": each.rolled_back})
