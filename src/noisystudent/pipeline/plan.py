"""What a run would do, what of it is done, and how long the rest takes; nothing is kept of what is tried for it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from noisystudent.artifacts.folder import MANIFEST, State
from noisystudent.config import Resolved
from noisystudent.display.wording import duration
from noisystudent.models.load import RUN_FACTS
from noisystudent.models.settings import plan_models
from noisystudent.pipeline.backbones.tune import HEAD
from noisystudent.pipeline.build_context import decide_settings, read_data
from noisystudent.pipeline.context import IncompleteStage, RunContext
from noisystudent.pipeline.extensions import Extensions
from noisystudent.pipeline.findings.stage import find_in_images
from noisystudent.pipeline.heads.plan import HeadWork, head_stages, stages_before_reading
from noisystudent.pipeline.labels.teachers import open_round_teachers, with_round_teachers
from noisystudent.pipeline.leakage import remove_leakage
from noisystudent.pipeline.noisy_student import run_rounds
from noisystudent.pipeline.plan_timing import MachineSpeed
from noisystudent.pipeline.pretraining.checks import pretrains
from noisystudent.pipeline.robustness import check_measurable, measure_robustness
from noisystudent.pipeline.stage_costs import OTHER
from noisystudent.pipeline.stages.autotune import SPEED
from noisystudent.pipeline.stages.online_checks import students_of
from noisystudent.pipeline.stages.student_choice import with_kept_student
from noisystudent.pipeline.start.choice import CHOICE as START_CHOICE
from noisystudent.pipeline.start.choice import finished_start
from noisystudent.pipeline.works import Counts, Work, works_of
from noisystudent.results.facts import PlannedStage, PlanResult
from noisystudent.runtime.progress import Reporter

READ_IMAGES = 256  # unlabeled and test images that are read to plan a run that has not begun


def plan(resolved: Resolved, *, reporter: Reporter, extensions: Extensions | None = None) -> PlanResult:
    """The stages of a run in order, whether each is done, what it costs, and its estimated seconds on this machine.

    The estimate comes from a few steps of each model in the training loop, from predictions by it, and from the reading
    of the images, all timed now, at the precision of the run.
    """
    resolved, trial = finished_start(resolved, extensions)
    if trial:
        reporter.say(
            "note: the run first tries on the labels whether a whole network does better than the frozen backbone; "
            f"that takes about {duration(trial)}, and what is planned here is the frozen one. A whole network takes up "
            "to all of the budget; --tune all plans it"
        )
    decided = decide_settings(resolved, reporter, dry=True, budgeted=True, extensions=extensions)
    is_head = decided.settings.model.tune == HEAD
    deciding = decided.costs.total().session_seconds or 0.0  # a run measures the machine for its budget, too
    begun = (Path(decided.settings.out) / RUN_FACTS).exists()
    if is_head and not begun:
        planned, reading = stages_before_reading(decided)
        tried = [HeadWork(START_CHOICE, trial)] if trial else []
        return _head_result([*tried, *planned], 0, State.ABSENT, 2 * reading + deciding)
    given = open_round_teachers(decided.settings)
    sizes = [model.given.size for model in given.values()]
    reads_all = begun or pretrains(decided.settings)  # whose batches are checked against the number of images
    context = read_data(decided, dry=True, teacher_sizes=sizes, sample=None if reads_all else READ_IMAGES)
    context = with_round_teachers(context, given)
    reading = (context.costs.total().session_seconds or 0.0) - deciding
    check_measurable(context)
    if is_head:
        return _plan_heads(context, 2 * reading + deciding)
    context = with_kept_student(context)
    counts = Counts.of(context) if begun else Counts.before_reading(decided, context)
    plans = plan_models(context.settings.model, students_of(context.settings), context.splits.format.size)
    works = list(works_of(context, plans, counts))
    reached, state = _first_incomplete(context)
    names = [work.name for work in works]
    first = _first_open(context, names, reached)
    if reached and reached not in names:
        works.insert(first, Work(reached, timed=False))
    if first == len(works):
        done = (_planned(work, State.COMPLETE, 0.0) for work in works if work.name != OTHER)
        return PlanResult(stages=tuple(done))
    speed = MachineSpeed(context, plans, deciding, reading * counts.total / Counts.of(context).total)
    stages = [_planned(work, State.COMPLETE, 0.0) for work in works[:first]]
    for work in works[first:]:
        stages.append(_planned(work, state if work.name == reached else State.ABSENT, _seconds(work, speed)))
    return PlanResult(stages=tuple(stages))


def _plan_heads(context: RunContext, other: float) -> PlanResult:
    """The plan of a run on a frozen backbone that has begun."""
    reached, state = _first_incomplete(context)
    planned = head_stages(context)
    if reached is None:
        planned = [replace(work, seconds=0.0) for work in planned]
    names = [work.name for work in planned]
    first = _first_open(context, names, reached)
    if reached and reached not in names:
        planned.insert(first, HeadWork(reached, None))
    return _head_result(planned, first, state, other)


def _head_result(planned: Sequence[HeadWork], first: int, state: State, other: float) -> PlanResult:
    """The plan of a run on a frozen backbone whose stage number ``first`` is in ``state``, and those before it done."""
    stages = [
        PlannedStage(
            name=work.name,
            state="complete" if number < first else state.value if number == first else State.ABSENT.value,
            samples_seen=work.trained,
            images_predicted=work.predicted,
            seconds=0.0 if number < first else work.seconds,
        )
        for number, work in enumerate(planned)
    ]
    if first < len(planned):
        stages.append(PlannedStage(name=OTHER, state="absent", samples_seen=0, images_predicted=0, seconds=other))
    return PlanResult(stages=tuple(stages))


def _planned(work: Work, state: State, seconds: float | None) -> PlannedStage:
    return PlannedStage(
        name=work.name,
        state=state.value,
        samples_seen=work.samples,
        images_predicted=work.predicted,
        seconds=seconds,
    )


def _seconds(work: Work, speed: MachineSpeed) -> float | None:
    if not work.timed:
        return None
    if work.name in (SPEED, OTHER):
        return speed.choice_seconds if work.name == SPEED else speed.other_seconds
    seconds = work.decoded * speed.decoded_seconds() if work.decoded else 0.0
    if work.model and work.samples:
        kind = speed.predicted_seconds if work.trains_last_layer else speed.trained_seconds
        seconds += work.samples * kind(work.model)
    if work.predictor and work.predicted:
        seconds += work.predicted * speed.predicted_seconds(work.predictor)
        seconds += speed.graph_seconds(work.predictor, work.compared) if work.compared else 0.0
    return seconds


def _first_open(context: RunContext, names: Sequence[str], reached: str | None) -> int:
    """The place of the stage that a run has reached among those that are planned.

    Where it is none of them, as one that only an earlier choice asks for, it is before the first that is not done.
    """
    if reached is None:
        return len(names)
    if reached in names:
        return names.index(reached)
    done = itertools.takewhile(lambda name: (context.folder_of(name) / MANIFEST).is_file(), names)
    return sum(1 for _ in done)


def _first_incomplete(context: RunContext) -> tuple[str | None, State]:
    """The first stage that is not complete; the run itself looks for it."""
    try:
        context = remove_leakage(context)
        result = run_rounds(context)
        measure_robustness(context, result.checkpoints, result.contexts_of_fixed)
        find_in_images(context, result)
    except IncompleteStage as stop:
        return stop.name, stop.state
    return None, State.COMPLETE
