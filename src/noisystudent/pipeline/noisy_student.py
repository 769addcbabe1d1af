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
from noisystudent.noise.custom import BatchNoise
from noisystudent.pipeline.autotune import settle_speed
from noisystudent.pipeline.checkpoints import Trained
from noisystudent.pipeline.context import Workshop, describe_run, exclusive_for_all, open_workshop
from noisystudent.pipeline.leakage import screened
from noisystudent.pipeline.noise_search import choose_strength
from noisystudent.pipeline.page_images import write_noise_sheet
from noisystudent.pipeline.pseudo_labels import find_signs, judge_labels, label_pile, select_from
from noisystudent.pipeline.robustness import check_measurable, measure_robustness
from noisystudent.pipeline.score_stage import score_checkpoint
from noisystudent.pipeline.summary import Contender, Round, Story, deliver, summarize
from noisystudent.pipeline.train_data import Tutor, labeled_lesson, student_lesson
from noisystudent.pipeline.train_stage import input_noise, train
from noisystudent.runtime.progress import Reporter


def run(
    resolved: Resolved, *, reporter: Reporter, own_noise: BatchNoise | None = None, command: list[str] | None = None
) -> dict[str, Any]:
    """Runs Noisy Student training to its end, or on to its end, and returns what summary.json holds.

    ``own_noise`` is the user's own, beside that of the settings.

    Everything that an earlier try finished from the same inputs is taken as it is. Processes that torchrun started
    share the work; the first one writes. Raises ``NoisyStudentError``.
    """
    folder = Path(resolved.settings.out)
    with exclusive_for_all(folder):
        workshop = screened(open_workshop(resolved.settings, reporter, own_noise=own_noise))
        check_measurable(workshop)
        first = workshop.engine.ranks.first
        if first:
            write_json(folder / "run.json", describe_run(resolved, workshop, command or sys.argv))
        started = time.monotonic()
        told = tell(workshop)
        deliver(workshop, told.delivered.trained)
        robustness = measure_robustness(workshop, told.contenders)
        summary = summarize(workshop, told, robustness, seconds=time.monotonic() - started)
        if first:
            write_json(folder / "summary.json", summary)
        return summary


def tell(workshop: Workshop) -> Story:
    """The rounds themselves."""
    settings = workshop.settings
    check_distillation(settings)
    settings.distillation.require_classes(len(workshop.roles.classes))
    plans = plan_models(settings.model, settings.rounds.count, workshop.roles.format.size)
    workshop = settle_speed(workshop, plans[0])
    strength = choose_strength(workshop, plans[0])
    trained = train(workshop, "teacher", plans[0], labeled_lesson(workshop), strength)
    teacher = best = Contender(0, trained, score_checkpoint(workshop, "teacher", trained))
    current, first_selection, before = teacher, None, None
    rounds: list[Round] = []

    for number, plan in enumerate(plans[1:], start=1):
        predictions_name = f"round-{number}/predictions"
        noise = (
            input_noise(workshop, predictions_name, plans[current.round], strength) if settings.noise.teacher else None
        )
        predicted = label_pile(workshop, predictions_name, current.trained, workshop.roles.unlabeled, noise=noise)
        selected = select_from(workshop, f"round-{number}/selection", predicted, number, first_selection)
        if settings.selection.once and first_selection is None:
            first_selection = selected
        lesson = student_lesson(workshop, predicted, selected)
        if settings.distillation.method != "none":
            tutor = Tutor(current.trained, f"round-{number}/labeled-predictions", predictions_name)
            lesson = lesson.taught(settings.distillation, [tutor])
        start = _warm_start(workshop, current.trained, plan)
        trained = train(workshop, f"round-{number}/student", plan, lesson, strength, start=start)
        student = Contender(number, trained, score_checkpoint(workshop, f"round-{number}", trained))

        rolled_back = is_worse(student, best, settings.rounds.rollback_p)
        quality, signs = judge_labels(workshop, predicted, selected), find_signs(workshop, predicted, before)
        rounds.append(Round(number, student, rolled_back, read_json(selected / "summary.json"), quality, signs))
        before = predicted
        _write_round(workshop, rounds[-1])
        if rolled_back:
            workshop.reporter.say(
                f"round {number} is rolled back: validation shows it to be worse than {best.trained.name}"
            )
            continue
        current = student
        best = max(best, student, key=_validation_top1)

    control = _control(workshop, plans[-1], rounds[-1].student.trained, strength) if settings.rounds.control else None
    delivered = current
    if control and is_worse(current, control, settings.rounds.rollback_p):
        workshop.reporter.say(
            "validation shows the labels-only control to be better than every student: it is delivered"
        )
        delivered = control
    if not workshop.dry and workshop.engine.ranks.first:
        write_noise_sheet(workshop, plans[0], strength)
    return Story(teacher, rounds, control, delivered)


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


def is_worse(student: Contender, other: Contender, p_value: float) -> bool:
    """Whether validation shows ``student`` to be worse than ``other``; without validation nothing can show it."""
    if "validation" not in student.scored.right:
        return False
    found = compare(student.scored.right["validation"], other.scored.right["validation"])
    return found.difference < 0 and found.p_value < p_value


def _validation_top1(contender: Contender) -> tuple[float, int]:
    validation = contender.scored.scores["validation"]
    return (validation["top1"] if validation else 0.0, contender.round)


def _warm_start(workshop: Workshop, teacher: Trained, plan: ModelPlan) -> Trained | None:
    if not workshop.settings.train.warm_start:
        return None
    if plan.name != teacher.model:
        raise ModelError(
            f"train.warm_start needs students of their teacher's model, but the teacher is {teacher.model!r} and the "
            f"student {plan.name!r}; use one model, or train.warm_start false."
        )
    return teacher


def _control(workshop: Workshop, plan: ModelPlan, student: Trained, strength: float) -> Contender:
    """The labels alone, with the final student's model, noise and image passes."""
    trained = train(workshop, "control", plan, labeled_lesson(workshop), strength)
    assert trained.passes == student.passes
    return Contender(0, trained, score_checkpoint(workshop, "control", trained))


def _write_round(workshop: Workshop, each: Round) -> None:
    if not workshop.dry and workshop.engine.ranks.first:
        scores = {**each.student.scored.scores, "unlabeled": each.pseudo_labels, "signs": each.signs}
        write_json(
            workshop.folder / f"round-{each.number}" / "scores.json", {**scores, "rolled_back": each.rolled_back}
        )
