"""Distillation: teachers are opened or trained, a student learns from them, and perhaps the next one from that."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from noisystudent.artifacts.typed_json import write_result
from noisystudent.config import Resolved
from noisystudent.errors import SettingsError
from noisystudent.evaluation.results import ComparisonResult
from noisystudent.evaluation.verdict import Verdict
from noisystudent.losses.settings import TEACHER_FREE, ObjectiveSettings
from noisystudent.models.checkpoint import label_smoothing_of
from noisystudent.models.predictor import Predictor, require_model
from noisystudent.models.settings import ModelPlan, choose_model
from noisystudent.pipeline.backbones.auto import settled
from noisystudent.pipeline.backbones.start import announce_start
from noisystudent.pipeline.backbones.tune import only_networks
from noisystudent.pipeline.build_context import build_context, describe_run
from noisystudent.pipeline.checkpoints import (
    Checkpoint,
    GivenModel,
    TrainedModel,
    is_checkpoint,
    open_given,
    require_fit,
)
from noisystudent.pipeline.context import RunContext, run_lock
from noisystudent.pipeline.controls import Controls, train_controls
from noisystudent.pipeline.delivery import describe_delivery
from noisystudent.pipeline.events import log_events
from noisystudent.pipeline.extensions import Extensions
from noisystudent.pipeline.finish import finish_run
from noisystudent.pipeline.noise_search import choose_strength
from noisystudent.pipeline.repeat import repeat_command
from noisystudent.pipeline.robustness import check_measurable, measure_robustness
from noisystudent.pipeline.score_stage import EvalResult, ScoredCheckpoint, score_checkpoint, score_ensemble
from noisystudent.pipeline.stages.autotune import autotune
from noisystudent.pipeline.stages.model_times import model_times
from noisystudent.pipeline.stages.teacher_logits import check_cached
from noisystudent.pipeline.stages.train import train
from noisystudent.pipeline.stages.train_data import TeacherRef, supervised_spec, transfer_spec
from noisystudent.pipeline.summary import (
    compare_models,
    deliver,
    evaluated_controls,
    evaluated_model,
    mean_of,
    round_result,
)
from noisystudent.results.run import RunSummary
from noisystudent.run_settings import RunSettings
from noisystudent.runtime.progress import Reporter

TREATMENT = "the teaching"  # in a verdict
DEFAULT_SMOOTHING = ObjectiveSettings().label_smoothing
HIGH_TEMPERATURE = 2.0  # from here on, a teacher's smoothed targets hide what it knows of the wrong classes


@dataclass(frozen=True)
class DistillationResult:
    """All models of a distillation with their scores; of several teachers or generations, their mean as well."""

    teachers: list[ScoredCheckpoint[TrainedModel]]
    ensemble: EvalResult | None
    students: list[ScoredCheckpoint[Checkpoint]]
    generations: EvalResult | None
    controls: Controls
    delivered: Checkpoint

    @property
    def checkpoints(self) -> dict[str, TrainedModel]:
        """Every model by name, the control first: the others are compared with it; further controls are left out."""
        control: dict[str, TrainedModel] = {
            model.checkpoint.name: model.checkpoint for model in self.controls.trained[:1]
        }
        teachers = {f"teacher {number}": model.checkpoint for number, model in enumerate(self.teachers, start=1)}
        return {**control, **teachers, **{f"student {model.round}": model.checkpoint for model in self.students}}


def distill(
    resolved: Resolved,
    *,
    reporter: Reporter,
    extensions: Extensions | None = None,
    predictors: Mapping[str, Predictor] = MappingProxyType({}),
    verify: bool = False,
) -> RunSummary:
    """Distills to the end, or resumes, and returns the content of summary.json.

    ``predictors`` are given teachers, by their name in ``distillation.teachers``. ``verify``: every byte of finished
    stages is checked. Raises ``NoisyStudentError``.
    """
    folder = Path(resolved.settings.out)
    distillation = resolved.settings.distillation
    check_teachers(resolved.settings, {name: predictors.get(name) for name in distillation.teachers})
    given = {name: predictors.get(name) for name in (*distillation.teachers, *distillation.students)}
    with run_lock(folder):
        context, opened = _open(resolved, reporter, extensions, given)
        context = replace(context, verify=verify)
        check_measurable(context)
        log_events(context)
        if context.engine.group.is_main:
            given_models = {name: repr(predictor) for name, predictor in predictors.items()}
            facts = describe_run(resolved, context, repeat_command(settled(resolved, context.settings), "distill"))
            write_result(folder / "run.json", replace(facts, extensions={**facts.extensions, **given_models}))
        result = run_distillation(context, opened)
        deliver(context, result.delivered, result.students[-1].result.calibration)
        summary = summarize(context, result, measure_robustness(context, result.checkpoints))
        return finish_run(context, with_times(context, result, summary))


def _open(
    resolved: Resolved, reporter: Reporter, extensions: Extensions | None, given: Mapping[str, Predictor | None]
) -> tuple[RunContext, dict[str, Predictor]]:
    """The context, and the models that are given, by their name in the settings, once they fit the data."""
    distillation, runtime = resolved.settings.distillation, resolved.settings.runtime
    opened = {
        name: predictor or open_given(name, runtime)
        for name, predictor in given.items()
        if predictor or is_checkpoint(name)
    }
    classes = next((predictor.classes for predictor in opened.values()), None)
    sizes = [predictor.size for predictor in opened.values()]
    context = build_context(
        only_networks(resolved), reporter, extensions=extensions, classes=classes, teacher_sizes=sizes
    )
    distillation.require_classes(len(context.splits.classes))
    for name, predictor in opened.items():
        _check_fits(context, name, predictor)
    return context, opened


def run_distillation(context: RunContext, given: Mapping[str, Predictor]) -> DistillationResult:
    """The stages of a distillation; ``given`` are the models from elsewhere, by their name in the settings."""
    distillation = context.settings.distillation
    starts = [GivenModel(name, given[name]) if name in given else None for name in distillation.students]
    plans = [
        _plan(context, name) if start is None else ModelPlan(start.load().name, start.given.size)
        for name, start in zip(distillation.students, starts, strict=True)
    ]
    trained = [_plan(context, name) for name in distillation.teachers if name not in given]
    fresh = [plan for plan, start in zip(plans, starts, strict=True) if start is None]
    announce_start(context.backbone, [*trained, *fresh], context.reporter)
    images = transfer_spec(context)  # what it cannot do is said before anything is trained
    check_cached(context)
    context = autotune(context, plans[0])
    strength = choose_strength(context, plans[0])
    teachers: list[TrainedModel] = [
        GivenModel(f"teacher-{number}", given[name])
        if name in given
        else _train_teacher(context, f"teacher-{number}", _plan(context, name), strength)
        for number, name in enumerate(distillation.teachers, start=1)
    ]
    scored_teachers = [
        ScoredCheckpoint(0, teacher, score_checkpoint(context, teacher.name, teacher)) for teacher in teachers
    ]
    ensemble = None
    if len(teachers) > 1:
        ensemble = score_ensemble(context, "teachers", teachers, distillation.weights, distillation.mean)

    students: list[ScoredCheckpoint[Checkpoint]] = []
    references = [_reference(teacher) for teacher in teachers]
    for number, (plan, start) in enumerate(zip(plans, starts, strict=True), start=1):
        settings = distillation if number == 1 else distillation.model_copy(update={"weights": ()})
        spec = images.with_teachers(settings, references)
        student = train(context, f"student-{number}", plan, spec, strength, start=start)
        students.append(ScoredCheckpoint(number, student, score_checkpoint(context, student.name, student)))
        delivered = student
        references = [_reference(student)]
    generations = None
    if len(students) > 1 and len({model.checkpoint.model for model in students}) == 1:
        generations = score_ensemble(context, "generations", [model.checkpoint for model in students])
    controls = Controls()
    if len(context.splits.labeled):
        samples, start = delivered.weights_samples_seen, starts[-1]
        equal = [
            teacher
            for name, teacher in zip(distillation.teachers, scored_teachers, strict=True)
            if name not in given and teacher.checkpoint.samples_seen == samples
            and not start and _plan(context, name) == plans[-1]
        ]  # fmt: skip
        controls = train_controls(context, plans[-1], strength, samples=samples, start=start, equal=equal)
    return DistillationResult(scored_teachers, ensemble, students, generations, controls, delivered)


def check_teachers(settings: RunSettings, given: Mapping[str, Predictor | None]) -> None:
    """Raises ``SettingsError`` unless the method has the teachers and the labels that it needs."""
    distillation = settings.distillation
    if distillation.method == "none":
        raise SettingsError("distillation.method is none; give a method, or use 'train' to train on labels alone.")
    if distillation.needs_teacher and not distillation.teachers:
        raise SettingsError(
            f"distillation.method {distillation.method} needs a teacher: give --teacher, a checkpoint's folder or the "
            f"name of a model to train on the labels first. Without a teacher: {', '.join(TEACHER_FREE[1:])}."
        )
    if not distillation.needs_teacher and distillation.teachers:
        raise SettingsError(
            f"distillation.method {distillation.method} has no teacher, and {', '.join(distillation.teachers)} would "
            "not be asked; leave out --teacher, or give another method."
        )
    to_train = [name for name, predictor in given.items() if predictor is None and not is_checkpoint(name)]
    if not settings.labeled and (to_train or not distillation.needs_teacher):
        what = f"to train the teacher {to_train[0]!r}" if to_train else f"for the method {distillation.method}"
        raise SettingsError(f"labels are needed {what}; give --labeled, or teachers that are checkpoints.")
    if not settings.labeled and distillation.applies_to == "labeled":
        raise SettingsError("distillation.applies_to is labeled, and there are no labeled images; give --labeled.")
    if not settings.unlabeled and distillation.applies_to == "unlabeled":
        raise SettingsError(
            "distillation.applies_to is unlabeled, and there are no unlabeled images; give --unlabeled."
        )
    if not settings.labeled and settings.noise.strength == "auto":
        raise SettingsError("noise.strength auto is chosen by labels, and there are none; give a number, such as 0.25.")


def name_model(teacher: str | Path | Predictor) -> str:
    """The name of a model in ``distillation.teachers`` and ``students``; raises ``ModelError`` for what is no model."""
    require_model(teacher)
    if isinstance(teacher, Predictor):
        return f"{teacher.name} {teacher.fingerprint[:12]}"
    # A Path is a folder, whatever its name is; ./ keeps it one as text.
    return teacher if isinstance(teacher, str) else os.path.join(os.curdir, teacher)


def _check_fits(context: RunContext, name: str, teacher: Predictor) -> None:
    """Raises ``ModelError`` for a model of other classes or channels; warns of a teacher with smoothed labels."""
    require_fit(context.splits, name, teacher)
    distillation = context.settings.distillation
    from_folder = bool(teacher.origin) and Path(teacher.origin).is_dir()
    smoothing = label_smoothing_of(Path(teacher.origin)) if from_folder else 0.0
    more = smoothing > DEFAULT_SMOOTHING  # a model of 'run' or 'train' as it is by default needs no warning
    if more and name in distillation.teachers and distillation.temperature >= HIGH_TEMPERATURE:
        context.reporter.say(
            f"warning: the teacher {name} was trained with label smoothing {smoothing:g}, which hides what it knows of "
            f"the wrong classes, the more so at temperature {distillation.temperature:g}; better teachers for students "
            "have learned plain labels (Mueller et al. 2019). Otherwise use distillation.temperature 1."
        )


def _plan(context: RunContext, name: str) -> ModelPlan:
    """The plan of a model; ``auto`` is the backbone's, or else the one that suits the size of the images."""
    if name != "auto":
        return ModelPlan(name)
    return ModelPlan(context.backbone.architecture if context.backbone else choose_model(context.splits.format.size))


def _train_teacher(context: RunContext, stage: str, plan: ModelPlan, strength: float) -> Checkpoint:
    """A teacher that learns from the labels alone, perhaps stopped early."""
    steps = context.settings.distillation.teacher_steps
    if steps:
        context.reporter.say(
            f"{stage} stops after {steps} steps (distillation.teacher_steps), an experiment of Yuan et al. 2020. Such "
            "a teacher made its student worse in docs/results/distillation.md"
        )
        settings = context.settings.train.model_copy(update={"stop_after": steps})
        context = replace(context, settings=context.settings.model_copy(update={"train": settings}))
    return train(context, stage, plan, supervised_spec(context), strength)


def _reference(teacher: TrainedModel) -> TeacherRef:
    return TeacherRef(teacher, f"answers/{teacher.name}/labeled", f"answers/{teacher.name}/unlabeled")


def with_times(context: RunContext, result: DistillationResult, summary: RunSummary) -> RunSummary:
    """The summary with the milliseconds per image of the delivered student, and of its teachers together."""
    teachers = [model.checkpoint for model in result.teachers]
    times = model_times(context, [result.delivered, *teachers])
    of_teachers = sum(times[teacher.name] for teacher in teachers)
    return replace(
        summary,
        student=replace(summary.student, milliseconds=times[result.delivered.name]),
        teacher=replace(summary.teacher, milliseconds=of_teachers) if summary.teacher else None,
        cost=context.total_cost(),
    )


def summarize(context: RunContext, result: DistillationResult, robustness: ComparisonResult | None) -> RunSummary:
    """The summary of a distillation, with what it took until now."""
    teachers = [evaluated_model(model, f"teacher {number}") for number, model in enumerate(result.teachers, start=1)]
    last = result.students[-1]
    teacher = replace(teachers[0], name="teacher") if teachers else None
    if result.ensemble:
        teacher = mean_of(result.ensemble, [model.checkpoint for model in result.teachers], "mean of the teachers")
    generations = None
    if result.generations:
        members = [model.checkpoint for model in result.students]
        generations = mean_of(result.generations, members, "mean of the students")
    why = "rounds.controls 0" if len(context.splits.labeled) else "it needs labels"
    verdict = Verdict(decision="no clear gain", reason=f"no control was trained ({why})", treatment=TREATMENT)
    if result.controls.trained:
        verdict = compare_models(last, result.controls, TREATMENT)
    controls = evaluated_controls(result.controls.trained)
    return RunSummary(
        recipe=context.settings.recipe,
        seed=context.settings.seed,
        classes=context.splits.classes,
        teachers=tuple(teachers) if result.ensemble else (),
        teacher=teacher,
        delivery=describe_delivery(last, result.controls.all, "nothing"),
        control=controls[0] if controls else None,
        further_controls=controls[1:],
        rounds=tuple(round_result(student, f"student {student.round}") for student in result.students),
        generations=generations,
        student=evaluated_model(last, "student"),
        delivered=last.checkpoint.name,
        verdict=verdict,
        robustness=robustness,
        cost=context.total_cost(),
    )
