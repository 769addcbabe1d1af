"""The story of a run: a teacher learns, labels the pile, a noised student learns from both and teaches the next."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noisystudent.artifacts import exclusive, read_json, write_json
from noisystudent.config import Resolved, RunSettings
from noisystudent.data.pile import KeptPile
from noisystudent.data.roles import open_roles
from noisystudent.errors import ModelError
from noisystudent.evaluation.verdict import compare
from noisystudent.models.settings import ModelPlan, plan_models
from noisystudent.noise.own import BatchNoise
from noisystudent.rounds.inspection import find_signs, judge_labels
from noisystudent.rounds.lessons import labeled_lesson, student_lesson
from noisystudent.rounds.noise_sheet import write_noise_sheet
from noisystudent.rounds.screening import screened
from noisystudent.rounds.speed import settle_speed
from noisystudent.rounds.stages import (
    Trained,
    input_noise,
    label_pile,
    score_checkpoint,
    select_from,
    train,
)
from noisystudent.rounds.story import Contender, Round, Story
from noisystudent.rounds.strength import choose_strength
from noisystudent.rounds.summary import deliver, summarize
from noisystudent.rounds.workshop import Workshop
from noisystudent.runtime.device import open_engine
from noisystudent.runtime.machine import describe_machine, versions
from noisystudent.runtime.progress import Reporter
from noisystudent.runtime.ranks import open_ranks
from noisystudent.training.feeds import make_pool


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
        first = workshop.engine.ranks.first
        if first:
            write_json(folder / "run.json", describe_run(resolved, workshop, command or sys.argv))
        started = time.monotonic()
        told = tell(workshop)
        deliver(workshop, told.delivered.trained)
        summary = summarize(workshop, told, seconds=time.monotonic() - started)
        if first:
            write_json(folder / "summary.json", summary)
        return summary


def exclusive_for_all(folder: Path) -> AbstractContextManager[None]:
    """Holds a run's folder for the processes that work together: the first one has the lock."""
    return exclusive(folder) if open_ranks().first else nullcontext()


def tell(workshop: Workshop) -> Story:
    """The rounds themselves."""
    settings = workshop.settings
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
        predicted = label_pile(workshop, predictions_name, current.trained, noise)
        selected = select_from(workshop, f"round-{number}/selection", predicted, number, first_selection)
        if settings.selection.once and first_selection is None:
            first_selection = selected
        lesson = student_lesson(workshop, predicted, selected)
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


def open_workshop(
    settings: RunSettings, reporter: Reporter, *, dry: bool = False, own_noise: BatchNoise | None = None
) -> Workshop:
    """Opens the device and reads the pictures that the settings name."""
    engine = open_engine(settings.runtime)
    reporter = reporter if engine.ranks.first else Reporter(quiet=True)
    specs = {role: getattr(settings, role) for role in ("labeled", "unlabeled", "validation", "test")}
    roles = open_roles(specs, settings.data, seed=settings.seed, stored_size=partial(_largest_view, settings))
    for role, each in roles.described.items():
        lost = f", {len(each.failures)} unreadable" if each.failures else ""
        reporter.say(f"{role}: {each.pictures} pictures from {each.name}{lost}{', ' + each.note if each.note else ''}")
    settings = settled(settings, int(np.bincount(roles.labeled.labels).min()))
    kept = [roles.unlabeled.pictures] if isinstance(roles.unlabeled, KeptPile) else []
    pool = make_pool([roles.labeled, *kept], engine.device)
    return Workshop(Path(settings.out), settings, roles, pool, engine, reporter, dry, own_noise)


def settled(settings: RunSettings, labels_a_class: int) -> RunSettings:
    """The settings with what depends on the number of labels (of the class that has the fewest) put in place."""
    selection, objective = settings.selection.settled(labels_a_class), settings.objective.settled(labels_a_class)
    return settings.model_copy(update={"selection": selection, "objective": objective})


def _largest_view(settings: RunSettings, size: int) -> int:
    """The largest resolution that a model of the run asks for, so that each finds its view in the stored pictures."""
    return max([size, *(plan.size for plan in plan_models(settings.model, settings.rounds.count, size) if plan.size)])


def describe_run(resolved: Resolved, workshop: Workshop, command: list[str]) -> dict[str, Any]:
    """What run.json holds: settings as settled, with origins, sources with fingerprints, versions, machine, command."""
    roles = workshop.roles
    sources: dict[str, Any] = {role: asdict(each) for role, each in roles.described.items()}
    sources["unlabeled"]["left_out"] = [asdict(each) for each in roles.unlabeled.left_out]
    sources["labeled"]["classes"] = list(roles.classes)
    return {
        "version": versions()["noisystudent"],
        "command": command,
        "recipe": resolved.settings.recipe,
        "format": {"size": roles.format.size, "channels": roles.format.channels},
        "settings": workshop.settings.model_dump(mode="json"),
        "origins": resolved.origins,
        "sources": sources,
        "versions": versions(),
        "machine": describe_machine(),
        "threads": torch.get_num_threads(),
    }
