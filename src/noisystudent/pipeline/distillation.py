"""The story of a distillation: teachers are opened or trained, a student learns from them, and perhaps the next one."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from noisystudent.artifacts.folder import write_json
from noisystudent.config import Resolved, RunSettings
from noisystudent.errors import ModelError, SettingsError
from noisystudent.evaluation.verdict import Verdict
from noisystudent.losses.settings import TEACHER_FREE
from noisystudent.models.checkpoint import CONFIG, label_smoothing_of
from noisystudent.models.classifier import Classifier
from noisystudent.models.settings import ModelPlan, choose_model
from noisystudent.pipeline.autotune import autotune
from noisystudent.pipeline.checkpoints import Checkpoint, open_checkpoint
from noisystudent.pipeline.context import RunContext, build_context, describe_run, run_lock
from noisystudent.pipeline.noise_search import choose_strength
from noisystudent.pipeline.robustness import check_measurable, measure_robustness
from noisystudent.pipeline.score_stage import EvalResult, score_checkpoint, score_ensemble
from noisystudent.pipeline.summary import EvaluatedModel, compare_models, deliver, model_row
from noisystudent.pipeline.train_data import TeacherRef, supervised_spec, transfer_spec
from noisystudent.pipeline.train_stage import train
from noisystudent.runtime.progress import Reporter

TREATMENT = "the teaching"  # in a verdict
HIGH_TEMPERATURE = 2.0  # from here a teacher's smoothed targets drown what it knows of the wrong classes


@dataclass(frozen=True)
class DistillationResult:
    """All that a finished distillation has to tell; of several teachers or generations the mean is scored too."""

    teachers: list[EvaluatedModel]
    ensemble: EvalResult | None
    students: list[EvaluatedModel]
    generations: EvalResult | None
    control: EvaluatedModel | None

    @property
    def evaluated_models(self) -> dict[str, Checkpoint]:
        """Everyone with a checkpoint, by name: first, if there is one, the control, with whom others are compared."""
        control = {"control": self.control.checkpoint} if self.control else {}
        teachers = {f"teacher {number}": each.checkpoint for number, each in enumerate(self.teachers, start=1)}
        return {**control, **teachers, **{f"student {each.round}": each.checkpoint for each in self.students}}


def distill(resolved: Resolved, *, reporter: Reporter, command: list[str] | None = None) -> dict[str, Any]:
    """Distills to the end, or on to the end, and returns what summary.json holds. Raises ``NoisyStudentError``."""
    settings = resolved.settings
    folder = Path(settings.out)
    check_who_teaches(settings)
    with run_lock(folder):
        context, given = _open(settings, reporter)
        check_measurable(context)
        if context.engine.group.is_main:
            write_json(folder / "run.json", describe_run(resolved, context, command or sys.argv))
        started = time.monotonic()
        told = tell(context, given)
        deliver(context, told.students[-1].checkpoint)
        robustness = measure_robustness(context, told.evaluated_models)
        summary = summarize(context, told, robustness, seconds=time.monotonic() - started)
        if context.engine.group.is_main:
            write_json(folder / "summary.json", summary)
        return summary


def _open(settings: RunSettings, reporter: Reporter) -> tuple[RunContext, dict[str, Checkpoint]]:
    """The workshop, and the teachers that are checkpoints, by the name that the settings have, once they fit it."""
    opened = {name: open_checkpoint(Path(name)) for name in settings.distillation.teachers if is_checkpoint(name)}
    classes = next((classifier.classes for _, classifier in opened.values()), None)
    views = [classifier.size for _, classifier in opened.values()]
    context = build_context(settings, reporter, classes=classes, views=views)
    settings.distillation.require_classes(len(context.splits.classes))
    for name, (_, classifier) in opened.items():
        _check_fits(context, name, classifier)
    return context, {name: checkpoint for name, (checkpoint, _) in opened.items()}


def tell(context: RunContext, given: dict[str, Checkpoint]) -> DistillationResult:
    """The stages themselves; ``given`` are the teachers that are checkpoints, by the name that the settings have."""
    settings = context.settings
    distillation, size = settings.distillation, context.splits.format.size
    plans = [_plan(name, size) for name in distillation.students]
    context = autotune(context, plans[0])
    strength = choose_strength(context, plans[0])
    checkpoint = [
        replace(given[each], name=f"teacher-{number}")
        if each in given
        else _train_teacher(context, f"teacher-{number}", _plan(each, size), strength)
        for number, each in enumerate(distillation.teachers, start=1)
    ]
    teachers = [EvaluatedModel(0, each, score_checkpoint(context, each.name, each)) for each in checkpoint]
    ensemble = None
    if len(checkpoint) > 1:
        ensemble = score_ensemble(context, "teachers", checkpoint, distillation.weights, distillation.mean)

    students: list[EvaluatedModel] = []
    teacher_refs = [_teacher_ref(each) for each in checkpoint]
    for number, plan in enumerate(plans, start=1):
        how = distillation if number == 1 else distillation.model_copy(update={"weights": ()})
        spec = transfer_spec(context).taught(how, teacher_refs)
        student = train(context, f"student-{number}", plan, spec, strength)
        students.append(EvaluatedModel(number, student, score_checkpoint(context, student.name, student)))
        teacher_refs = [_teacher_ref(student)]
    generations = None
    if len(students) > 1 and len({each.checkpoint.model for each in students}) == 1:
        generations = score_ensemble(context, "generations", [each.checkpoint for each in students])
    control = None
    if settings.rounds.control and len(context.splits.labeled):
        alone = train(context, "control", plans[-1], supervised_spec(context), strength)
        control = EvaluatedModel(0, alone, score_checkpoint(context, "control", alone))
    return DistillationResult(teachers, ensemble, students, generations, control)


def check_who_teaches(settings: RunSettings) -> None:
    """Raises ``SettingsError`` unless the method has the teachers and the labels that it needs."""
    distillation = settings.distillation
    if distillation.method == "none":
        raise SettingsError("distillation.method is none; give a method, or use 'train' to train on labels alone.")
    if distillation.taught and not distillation.teachers:
        raise SettingsError(
            f"distillation.method {distillation.method} needs a teacher: give --teacher, a checkpoint's folder or the "
            f"name of a model to train on the labels first. Without a teacher: {', '.join(TEACHER_FREE[1:])}."
        )
    if not distillation.taught and distillation.teachers:
        raise SettingsError(
            f"distillation.method {distillation.method} has no teacher, and {', '.join(distillation.teachers)} would "
            "not be asked; leave out --teacher, or give another method."
        )
    to_train = [name for name in distillation.teachers if not is_checkpoint(name)]
    if not settings.labeled and (to_train or not distillation.taught):
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


def is_checkpoint(teacher: str) -> bool:
    """Whether a teacher is named by its folder, not by its model."""
    return (Path(teacher) / CONFIG).exists() or "/" in teacher or Path(teacher).is_dir()


def _check_fits(context: RunContext, name: str, classifier: Classifier) -> None:
    """Raises ``ModelError`` for a teacher of other classes or channels, warns of one that learned smoothed labels."""
    splits, distillation = context.splits, context.settings.distillation
    if classifier.classes != splits.classes:
        raise ModelError(
            f"the teacher {name} tells apart other classes than the data, or in another order. Its classes: "
            f"{', '.join(classifier.classes[:20])} ({len(classifier.classes)}). The data's: "
            f"{', '.join(splits.classes[:20])} ({len(splits.classes)}). Give a teacher of these classes."
        )
    if classifier.channels != splits.format.channels:
        needed = "gray" if classifier.channels == 1 else "rgb"
        raise ModelError(
            f"the teacher {name} takes images with {classifier.channels} channels, and these have "
            f"{splits.format.channels}; give data.channels {needed}, and the student sees them alike."
        )
    smoothing = label_smoothing_of(Path(name))
    if smoothing and distillation.temperature >= HIGH_TEMPERATURE:
        context.reporter.say(
            f"warning: the teacher {name} was trained with label smoothing {smoothing:g}, which blurs what it knows of "
            f"the wrong classes, the more so at temperature {distillation.temperature:g}; better teachers for students "
            "have learned plain labels (Mueller et al. 2019). Otherwise use distillation.temperature 1."
        )


def _plan(name: str, size: int) -> ModelPlan:
    return ModelPlan(choose_model(size) if name == "auto" else name)


def _train_teacher(context: RunContext, name: str, plan: ModelPlan, strength: float) -> Checkpoint:
    """A teacher that learns from the labels alone, perhaps broken off early."""
    steps = context.settings.distillation.teacher_steps
    if steps:
        train_settings = context.settings.train.model_copy(update={"stop_after": steps})
        context = replace(context, settings=context.settings.model_copy(update={"train": train_settings}))
    return train(context, name, plan, supervised_spec(context), strength)


def _teacher_ref(checkpoint: Checkpoint) -> TeacherRef:
    return TeacherRef(checkpoint, f"answers/{checkpoint.name}/labeled", f"answers/{checkpoint.name}/unlabeled")


def summarize(
    context: RunContext, told: DistillationResult, robustness: dict[str, Any] | None, *, seconds: float
) -> dict[str, Any]:
    """What summary.json holds; ``seconds`` is the time of this session, stages found done not counted."""
    teachers = [model_row(each, f"teacher {number}") for number, each in enumerate(told.teachers, start=1)]
    students = [
        {**model_row(each, f"student {each.round}"), "round": each.round, "rolled_back": False}
        for each in told.students
    ]
    last = told.students[-1]
    teacher = {**teachers[0], "name": "teacher"} if teachers else None
    if told.ensemble:
        teacher = _mean_row(told.ensemble, [each.checkpoint for each in told.teachers], "mean of the teachers")
    generations = None
    if told.generations:
        generations = _mean_row(told.generations, [each.checkpoint for each in told.students], "mean of the students")
    why = "rounds.control false" if len(context.splits.labeled) else "it needs labels"
    verdict = Verdict("cannot tell", f"no control was trained ({why})", None, None, None, 0, "none", TREATMENT)
    if told.control:
        verdict = compare_models(last, told.control, TREATMENT)
    checkpoint = [
        each.checkpoint for each in (*told.teachers, *told.students, *([told.control] if told.control else []))
    ]
    return {
        "recipe": context.settings.recipe,
        "seed": context.settings.seed,
        "classes": list(context.splits.classes),
        "teachers": teachers if told.ensemble else [],
        "teacher": teacher,
        "control": model_row(told.control, "control") if told.control else None,
        "rounds": students,
        "generations": generations,
        "student": model_row(last, "student"),
        "delivered": last.checkpoint.name,
        "baselines": [],
        "verdict": verdict.as_json(),
        "robustness": robustness,
        "cost": {
            "seconds": round(sum(each.seconds for each in checkpoint), 1),
            "session_seconds": round(seconds, 1),
            "samples_seen": sum(each.samples_seen for each in checkpoint),
        },
    }


def _mean_row(eval_result: EvalResult, members: Sequence[Checkpoint], name: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": ", ".join(dict.fromkeys(each.model for each in members)),
        "parameters": sum(each.parameters for each in members),
        "samples_seen": sum(each.samples_seen for each in members),
        "seconds": sum(each.seconds for each in members),
        **eval_result.scores,
    }
