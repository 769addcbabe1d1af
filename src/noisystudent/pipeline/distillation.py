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
from noisystudent.pipeline.autotune import settle_speed
from noisystudent.pipeline.checkpoints import Trained, open_checkpoint
from noisystudent.pipeline.context import Workshop, describe_run, exclusive_for_all, open_workshop
from noisystudent.pipeline.noise_search import choose_strength
from noisystudent.pipeline.robustness import check_measurable, measure_robustness
from noisystudent.pipeline.score_stage import Scored, score_checkpoint, score_ensemble
from noisystudent.pipeline.summary import Contender, compare_contenders, contender_row, deliver
from noisystudent.pipeline.train_data import Tutor, labeled_lesson, transfer_lesson
from noisystudent.pipeline.train_stage import train
from noisystudent.runtime.progress import Reporter

HELPER = "the teaching"  # in a verdict
HIGH_TEMPERATURE = 2.0  # from here a teacher's smoothed targets drown what it knows of the wrong classes


@dataclass(frozen=True)
class Distilled:
    """All that a finished distillation has to tell; of several teachers or generations the mean is scored too."""

    teachers: list[Contender]
    ensemble: Scored | None
    students: list[Contender]
    generations: Scored | None
    control: Contender | None

    @property
    def contenders(self) -> dict[str, Trained]:
        """Everyone with a checkpoint, by name: first, if there is one, the control, with whom others are compared."""
        control = {"control": self.control.trained} if self.control else {}
        teachers = {f"teacher {number}": each.trained for number, each in enumerate(self.teachers, start=1)}
        return {**control, **teachers, **{f"student {each.round}": each.trained for each in self.students}}


def distill(resolved: Resolved, *, reporter: Reporter, command: list[str] | None = None) -> dict[str, Any]:
    """Distills to the end, or on to the end, and returns what summary.json holds. Raises ``NoisyStudentError``."""
    settings = resolved.settings
    folder = Path(settings.out)
    check_who_teaches(settings)
    with exclusive_for_all(folder):
        workshop, given = _open(settings, reporter)
        check_measurable(workshop)
        if workshop.engine.ranks.first:
            write_json(folder / "run.json", describe_run(resolved, workshop, command or sys.argv))
        started = time.monotonic()
        told = tell(workshop, given)
        deliver(workshop, told.students[-1].trained)
        robustness = measure_robustness(workshop, told.contenders)
        summary = summarize(workshop, told, robustness, seconds=time.monotonic() - started)
        if workshop.engine.ranks.first:
            write_json(folder / "summary.json", summary)
        return summary


def _open(settings: RunSettings, reporter: Reporter) -> tuple[Workshop, dict[str, Trained]]:
    """The workshop, and the teachers that are checkpoints, by the name that the settings have, once they fit it."""
    opened = {name: open_checkpoint(Path(name)) for name in settings.distillation.teachers if is_checkpoint(name)}
    classes = next((classifier.classes for _, classifier in opened.values()), None)
    views = [classifier.size for _, classifier in opened.values()]
    workshop = open_workshop(settings, reporter, classes=classes, views=views)
    settings.distillation.require_classes(len(workshop.roles.classes))
    for name, (_, classifier) in opened.items():
        _check_fits(workshop, name, classifier)
    return workshop, {name: trained for name, (trained, _) in opened.items()}


def tell(workshop: Workshop, given: dict[str, Trained]) -> Distilled:
    """The stages themselves; ``given`` are the teachers that are checkpoints, by the name that the settings have."""
    settings = workshop.settings
    distillation, size = settings.distillation, workshop.roles.format.size
    plans = [_plan(name, size) for name in distillation.students]
    workshop = settle_speed(workshop, plans[0])
    strength = choose_strength(workshop, plans[0])
    trained = [
        replace(given[each], name=f"teacher-{number}")
        if each in given
        else _train_teacher(workshop, f"teacher-{number}", _plan(each, size), strength)
        for number, each in enumerate(distillation.teachers, start=1)
    ]
    teachers = [Contender(0, each, score_checkpoint(workshop, each.name, each)) for each in trained]
    ensemble = None
    if len(trained) > 1:
        ensemble = score_ensemble(workshop, "teachers", trained, distillation.weights, distillation.mean)

    students: list[Contender] = []
    tutors = [_tutor(each) for each in trained]
    for number, plan in enumerate(plans, start=1):
        how = distillation if number == 1 else distillation.model_copy(update={"weights": ()})
        lesson = transfer_lesson(workshop).taught(how, tutors)
        student = train(workshop, f"student-{number}", plan, lesson, strength)
        students.append(Contender(number, student, score_checkpoint(workshop, student.name, student)))
        tutors = [_tutor(student)]
    generations = None
    if len(students) > 1 and len({each.trained.model for each in students}) == 1:
        generations = score_ensemble(workshop, "generations", [each.trained for each in students])
    control = None
    if settings.rounds.control and len(workshop.roles.labeled):
        alone = train(workshop, "control", plans[-1], labeled_lesson(workshop), strength)
        control = Contender(0, alone, score_checkpoint(workshop, "control", alone))
    return Distilled(teachers, ensemble, students, generations, control)


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
    if not settings.labeled and distillation.on == "labeled":
        raise SettingsError("distillation.on is labeled, and there are no labeled pictures; give --labeled.")
    if not settings.unlabeled and distillation.on == "unlabeled":
        raise SettingsError("distillation.on is unlabeled, and there are no unlabeled pictures; give --unlabeled.")
    if not settings.labeled and settings.noise.strength == "auto":
        raise SettingsError("noise.strength auto is chosen by labels, and there are none; give a number, such as 0.25.")


def is_checkpoint(teacher: str) -> bool:
    """Whether a teacher is named by its folder, not by its model."""
    return (Path(teacher) / CONFIG).exists() or "/" in teacher or Path(teacher).is_dir()


def _check_fits(workshop: Workshop, name: str, classifier: Classifier) -> None:
    """Raises ``ModelError`` for a teacher of other classes or channels, warns of one that learned smoothed labels."""
    roles, distillation = workshop.roles, workshop.settings.distillation
    if classifier.classes != roles.classes:
        raise ModelError(
            f"the teacher {name} tells apart other classes than the data, or in another order. Its classes: "
            f"{', '.join(classifier.classes[:20])} ({len(classifier.classes)}). The data's: "
            f"{', '.join(roles.classes[:20])} ({len(roles.classes)}). Give a teacher of these classes."
        )
    if classifier.channels != roles.format.channels:
        needed = "gray" if classifier.channels == 1 else "rgb"
        raise ModelError(
            f"the teacher {name} takes pictures with {classifier.channels} channels, and these have "
            f"{roles.format.channels}; give data.channels {needed}, and the student sees them alike."
        )
    smoothing = label_smoothing_of(Path(name))
    if smoothing and distillation.temperature >= HIGH_TEMPERATURE:
        workshop.reporter.say(
            f"warning: the teacher {name} was trained with label smoothing {smoothing:g}, which blurs what it knows of "
            f"the wrong classes, the more so at temperature {distillation.temperature:g}; better teachers for students "
            "have learned plain labels (Mueller et al. 2019). Otherwise use distillation.temperature 1."
        )


def _plan(name: str, size: int) -> ModelPlan:
    return ModelPlan(choose_model(size) if name == "auto" else name)


def _train_teacher(workshop: Workshop, name: str, plan: ModelPlan, strength: float) -> Trained:
    """A teacher that learns from the labels alone, perhaps broken off early."""
    steps = workshop.settings.distillation.teacher_steps
    if steps:
        train_settings = workshop.settings.train.model_copy(update={"stop_after": steps})
        workshop = replace(workshop, settings=workshop.settings.model_copy(update={"train": train_settings}))
    return train(workshop, name, plan, labeled_lesson(workshop), strength)


def _tutor(trained: Trained) -> Tutor:
    return Tutor(trained, f"answers/{trained.name}/labeled", f"answers/{trained.name}/unlabeled")


def summarize(
    workshop: Workshop, told: Distilled, robustness: dict[str, Any] | None, *, seconds: float
) -> dict[str, Any]:
    """What summary.json holds; ``seconds`` is the time of this session, stages found done not counted."""
    teachers = [contender_row(each, f"teacher {number}") for number, each in enumerate(told.teachers, start=1)]
    students = [
        {**contender_row(each, f"student {each.round}"), "round": each.round, "rolled_back": False}
        for each in told.students
    ]
    last = told.students[-1]
    teacher = {**teachers[0], "name": "teacher"} if teachers else None
    if told.ensemble:
        teacher = _mean_row(told.ensemble, [each.trained for each in told.teachers], "mean of the teachers")
    generations = None
    if told.generations:
        generations = _mean_row(told.generations, [each.trained for each in told.students], "mean of the students")
    why = "rounds.control false" if len(workshop.roles.labeled) else "it needs labels"
    verdict = Verdict("cannot tell", f"no control was trained ({why})", None, None, None, 0, "none", HELPER)
    if told.control:
        verdict = compare_contenders(last, told.control, HELPER)
    trained = [each.trained for each in (*told.teachers, *told.students, *([told.control] if told.control else []))]
    return {
        "recipe": workshop.settings.recipe,
        "seed": workshop.settings.seed,
        "classes": list(workshop.roles.classes),
        "teachers": teachers if told.ensemble else [],
        "teacher": teacher,
        "control": contender_row(told.control, "control") if told.control else None,
        "rounds": students,
        "generations": generations,
        "student": contender_row(last, "student"),
        "delivered": last.trained.name,
        "baselines": [],
        "verdict": verdict.as_json(),
        "robustness": robustness,
        "cost": {
            "seconds": round(sum(each.seconds for each in trained), 1),
            "session_seconds": round(seconds, 1),
            "passes": sum(each.passes for each in trained),
        },
    }


def _mean_row(scored: Scored, members: Sequence[Trained], name: str) -> dict[str, Any]:
    return {
        "name": name,
        "model": ", ".join(dict.fromkeys(each.model for each in members)),
        "parameters": sum(each.parameters for each in members),
        "passes": sum(each.passes for each in members),
        "seconds": sum(each.seconds for each in members),
        **scored.scores,
    }
