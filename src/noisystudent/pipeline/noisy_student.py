"""Noisy Student training: a teacher labels, a noised student learns from both and becomes the next teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from noisystudent.artifacts.typed_json import write_result
from noisystudent.config import Resolved
from noisystudent.models.settings import ModelPlan, plan_models
from noisystudent.pipeline.backbones.auto import settled
from noisystudent.pipeline.backbones.start import announce_start
from noisystudent.pipeline.backbones.tune import HEAD
from noisystudent.pipeline.baselines import measure_baselines
from noisystudent.pipeline.build_context import build_context, describe_run
from noisystudent.pipeline.checkpoints import Checkpoint
from noisystudent.pipeline.context import RunContext, run_lock
from noisystudent.pipeline.controls import Controls, teacher_is_control, train_controls
from noisystudent.pipeline.delivery import choose_delivered, is_worse, validation_top1
from noisystudent.pipeline.events import log_events, tell_teacher
from noisystudent.pipeline.extensions import Extensions
from noisystudent.pipeline.findings.stage import find_in_images
from noisystudent.pipeline.finish import finish_run
from noisystudent.pipeline.fix.in_run import FixedModel, check_fix, deliver_fixed, fix_models
from noisystudent.pipeline.fold_calibration import calibration_by_folds
from noisystudent.pipeline.heads.rounds import run_head_rounds
from noisystudent.pipeline.labels.class_shares import require_prior
from noisystudent.pipeline.labels.teachers import open_round_teachers, with_round_teachers
from noisystudent.pipeline.leakage import remove_leakage
from noisystudent.pipeline.network_checks import announce_smaller_students, check_networks
from noisystudent.pipeline.network_round import describe_round, label_and_select, online_round
from noisystudent.pipeline.noise_search import choose_strength, cross_fit_of
from noisystudent.pipeline.page_images import write_noise_sheet
from noisystudent.pipeline.pretraining.stage import start_from_pretraining
from noisystudent.pipeline.repeat import repeat_command
from noisystudent.pipeline.robustness import check_measurable, measure_robustness
from noisystudent.pipeline.score_stage import ScoredCheckpoint, score_checkpoint
from noisystudent.pipeline.stages.autotune import autotune
from noisystudent.pipeline.stages.online import online_spec
from noisystudent.pipeline.stages.online_checks import is_online, students_of
from noisystudent.pipeline.stages.student import check_starts, train_student
from noisystudent.pipeline.stages.student_choice import chooses_round, in_a_round
from noisystudent.pipeline.stages.train import train
from noisystudent.pipeline.stages.train_data import supervised_spec
from noisystudent.pipeline.start.choice import choose_start, count_trial
from noisystudent.pipeline.summary import Round, RunResult, deliver, judged_student, summarize
from noisystudent.pipeline.works import expect_stages
from noisystudent.results.run import ChosenBy, RunSummary
from noisystudent.runtime.progress import Reporter


def run(
    resolved: Resolved,
    *,
    reporter: Reporter,
    extensions: Extensions | None = None,
    verify: bool = False,
    shared: Sequence[Path] = (),
) -> RunSummary:
    """Runs Noisy Student training to its end, or resumes it, and returns the summary that summary.json holds.

    What an earlier call finished from the same inputs is used as it is, once its models (with ``verify`` all its files)
    are found to be undamaged. Processes that torchrun started share the work,
    and the main process writes. Stages that a run in one of the folders ``shared`` finished from the same inputs are
    taken over. Raises ``NoisyStudentError``.
    """
    folder = Path(resolved.settings.out)
    with run_lock(folder):
        resolved = choose_start(resolved, reporter, extensions)
        given = open_round_teachers(resolved.settings)
        sizes = [model.given.size for model in given.values()]
        context = build_context(
            resolved, reporter, budgeted=True, extensions=extensions, verify=verify, teacher_sizes=sizes
        )
        context = with_round_teachers(replace(context, shared=tuple(shared)), given)
        context = remove_leakage(context)
        count_trial(context.folder, context.costs)
        check_measurable(context)
        log_events(context)
        _write_facts(resolved, context)
        result = run_rounds(context)
        if result.chose_round:
            context = in_a_round(context)
            _write_facts(resolved, context)
        deliver(context, result.delivered.checkpoint, result.calibration)
        robustness = measure_robustness(context, result.checkpoints, result.contexts_of_fixed)
        findings = find_in_images(context, result)
        return finish_run(context, summarize(context, result, robustness, measure_baselines(context)), findings)


def _write_facts(resolved: Resolved, context: RunContext) -> None:
    """Writes run.json, and tells the reporter which stages there are."""
    stages = expect_stages(context)
    if context.engine.group.is_main:
        command = repeat_command(settled(resolved, context.settings), "run")
        write_result(context.folder / "run.json", replace(describe_run(resolved, context, command), stages=stages))


def run_rounds(context: RunContext) -> RunResult:
    """Teacher, rounds and control, each stage by name; see Xie et al. 2020, Algorithm 1."""
    settings = context.settings
    require_prior(settings, context.splits)
    if settings.model.tune == HEAD:
        return run_head_rounds(context)
    check_networks(context)
    plans = plan_models(settings.model, students_of(settings), context.splits.format.size)
    announce_start(context.backbone, plans, context.reporter)
    announce_smaller_students(context, plans)
    online = online_spec(context) if is_online(settings) else None  # what it cannot do is said before the rounds
    check_starts(context, plans)
    context = start_from_pretraining(autotune(context, plans[0]), plans)
    strength = choose_strength(context, plans[0])
    check_fix(context, plans[-1], strength)
    checkpoint = train(context, "teacher", plans[0], supervised_spec(context), strength)
    teacher = best = ScoredCheckpoint(0, checkpoint, score_checkpoint(context, "teacher", checkpoint))
    tell_teacher(context, teacher)
    if chose_round := chooses_round(context, checkpoint):
        context, online = in_a_round(context), None
        settings = context.settings
        expect_stages(context)
    rounds, kept = list[Round](), [teacher]
    first_selection: Path | None = None
    previous: Path | None = None

    for number, plan in enumerate(plans[1 : 1 + settings.rounds.count], start=1):
        labeled = label_and_select(context, kept, plans, strength, number, first_selection)
        predictions, selection = labeled[1:]
        if settings.selection.once:
            first_selection = first_selection or selection
        checkpoint = train_student(context, number, plan, kept[-1].checkpoint, (predictions, selection), strength)
        student = ScoredCheckpoint(number, checkpoint, score_checkpoint(context, f"round-{number}", checkpoint))

        worse = is_worse(student, best, settings.rounds.worse_p)
        rounds.append(describe_round(context, rounds, student, worse, labeled, previous))
        previous = predictions
        if worse:
            context.reporter.say(
                f"round {number} is not kept: validation shows it to be worse than {best.checkpoint.name}"
            )
            continue
        kept.append(student)
        best = max(best, student, key=validation_top1)

    if online:
        rounds.append(online_round(context, online, kept[-1], best, plans[-1], strength))
        kept += [] if rounds[-1].worse else [rounds[-1].student]

    models = _compare_and_choose(context, teacher, rounds, kept[-1], plans, strength)
    if not context.dry and context.engine.group.is_main:
        write_noise_sheet(context, plans[0], strength)
    chosen_by: ChosenBy = "validation" if context.splits.validation else "nothing"
    cross_fit = cross_fit_of(context, plans[0], strength)
    calibration = models.delivered.result.calibration or calibration_by_folds(context, cross_fit)
    return RunResult(
        teacher, rounds, models.controls, models.delivered, chosen_by, calibration, cross_fit, fixed=models.fixed,
        chose_round=chose_round,
    )  # fmt: skip


@dataclass(frozen=True)
class _Chosen:
    """What a run delivers, what its student is compared with, and the models at another resolution."""

    controls: Controls
    delivered: ScoredCheckpoint[Checkpoint]
    fixed: tuple[FixedModel, ...] = ()


def _compare_and_choose(
    context: RunContext,
    teacher: ScoredCheckpoint[Checkpoint],
    rounds: list[Round],
    last: ScoredCheckpoint[Checkpoint],
    plans: Sequence[ModelPlan],
    strength: float,
) -> _Chosen:
    """Trains what the student is compared with, and chooses among them; ``last`` is the last model that was kept."""
    if not rounds:  # the budget went into labels-only training
        return _Chosen(Controls(), teacher)
    student = judged_student(rounds)
    equal = [teacher] if teacher_is_control(context.settings, plans, student.round) else []
    samples = student.checkpoint.weights_samples_seen
    controls = train_controls(context, plans[student.round], strength, samples=samples, equal=equal)
    delivered = choose_delivered(context, last, [teacher, *controls.trained, *controls.of_steps])
    fixed = fix_models(context, [student, *controls.trained[:1]], plans[student.round], strength)
    return _Chosen(controls, deliver_fixed(context, delivered, fixed), fixed)
