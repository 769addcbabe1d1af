"""What a run would do, what of it is done, and how long the rest takes; nothing is kept of what is tried for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from noisystudent.artifacts.folder import State
from noisystudent.config import Resolved
from noisystudent.data.source import SHARD_ROWS
from noisystudent.display.wording import duration
from noisystudent.losses.settings import DistillationSettings
from noisystudent.models.load import RUN_FACTS
from noisystudent.models.settings import ModelPlan, plan_models
from noisystudent.pipeline.autotune import SPEED, possible_modes
from noisystudent.pipeline.build_context import Decided, decide_settings, read_data
from noisystudent.pipeline.class_shares import labeling_stage, stages_to_aim
from noisystudent.pipeline.context import IncompleteStage, RunContext
from noisystudent.pipeline.controls import CONTROL, control_groups, control_stages, teacher_is_control
from noisystudent.pipeline.extensions import Extensions
from noisystudent.pipeline.findings.images import MOST_SHARDS
from noisystudent.pipeline.findings.stage import FINDINGS, find_in_images
from noisystudent.pipeline.fix.in_run import FIXED, RESIZED, planned_size
from noisystudent.pipeline.fix.stage import with_training
from noisystudent.pipeline.heads.plan import HeadWork, head_stages, stages_before_reading
from noisystudent.pipeline.leakage import LEAKAGE, needs_leakage_stage, remove_leakage
from noisystudent.pipeline.noise_search import CHOICE, FOLDS, STRENGTH, fold_steps, searched_strengths
from noisystudent.pipeline.noisy_student import run_rounds
from noisystudent.pipeline.online import ONLINE, STUDENT, answered_by_average
from noisystudent.pipeline.online_checks import images_behind, is_online, online_batch, students_of
from noisystudent.pipeline.plan_timing import MachineSpeed
from noisystudent.pipeline.pretraining import PRETRAIN, VIEWS
from noisystudent.pipeline.pretraining_batches import pretraining_images
from noisystudent.pipeline.pretraining_checks import pretrains
from noisystudent.pipeline.robustness import STAGE, check_measurable, measure_robustness
from noisystudent.pipeline.round_teachers import open_round_teachers, with_round_teachers
from noisystudent.pipeline.stage_costs import OTHER
from noisystudent.pipeline.stage_noise import input_size
from noisystudent.pipeline.start_choice import CHOICE as START_CHOICE
from noisystudent.pipeline.start_choice import finished_start
from noisystudent.pipeline.student_stages import pretraining_steps
from noisystudent.pipeline.train_data import student_batch
from noisystudent.pipeline.train_stage import predicted_in_training
from noisystudent.pipeline.tune import HEAD
from noisystudent.results.facts import PlannedStage, PlanResult
from noisystudent.runtime.progress import Reporter
from noisystudent.training.loader import LABELED, PSEUDO
from noisystudent.training.settings import TrainSettings
from noisystudent.training.teacher_logits import views_of

READ_IMAGES = 256  # unlabeled and test images that are read to plan a run that has not begun


@dataclass(frozen=True)
class _Counts:
    """The numbers of images: labeled and unlabeled ones, and those of validation and test together."""

    labeled: int
    unlabeled: int
    held_out: int

    @property
    def total(self) -> int:
        """All of them, at least 1."""
        return max(1, self.labeled + self.unlabeled + self.held_out)

    @classmethod
    def of(cls, context: RunContext) -> _Counts:
        """The images that were read."""
        splits = context.splits
        held_out = sum(len(source) for source in (splits.validation, splits.test) if source)
        return cls(len(splits.labeled), sum(splits.unlabeled.shard_sizes), held_out)

    @classmethod
    def before_reading(cls, decided: Decided, context: RunContext) -> _Counts:
        """The images of the sources, of which ``context`` has read some, with near-duplicates of held-out images."""
        read, sources = cls.of(context), decided.sources
        unlabeled, test = (sum(sources[role].shard_sizes) if role in sources else 0 for role in ("unlabeled", "test"))
        validation = len(context.splits.validation) if context.splits.validation else 0
        return cls(read.labeled, unlabeled, validation + test)


@dataclass(frozen=True)
class _Work:
    """The work of a stage.

    ``model`` trains on ``samples``; ``predictor`` predicts ``predicted`` images; ``decoded`` images are read from a
    source that does not fit into memory; ``timed``: whether these say how long the stage takes;
    ``trains_last_layer``: most of the network only predicts the samples.
    """

    name: str
    model: ModelPlan | None = None
    samples: int = 0
    predictor: ModelPlan | None = None
    predicted: int = 0
    decoded: int = 0
    timed: bool = True
    trains_last_layer: bool = False


def plan(resolved: Resolved, *, reporter: Reporter, extensions: Extensions | None = None) -> PlanResult:
    """The stages of a run in order, whether each is done, what it costs, and its estimated seconds on this machine.

    The estimate comes from a few steps of each model in the training loop, from predictions by it, and from the reading
    of the images, all timed now, at the precision of the run.
    """
    resolved, trial = finished_start(resolved, extensions)
    if trial:
        reporter.say(
            "note: the run first tries on the labels whether a network from scratch does better than the frozen "
            f"backbone; that takes about {duration(trial)}, and what is planned here is the frozen one"
        )
    decided = decide_settings(resolved, reporter, dry=True, budgeted=True, extensions=extensions)
    is_head = decided.settings.model.tune == HEAD
    begun = (Path(decided.settings.out) / RUN_FACTS).exists()
    if is_head and not begun:
        planned, reading = stages_before_reading(decided)
        tried = [HeadWork(START_CHOICE, trial)] if trial else []
        return _head_result([*tried, *planned], 0, State.ABSENT, reading)
    given = open_round_teachers(decided.settings)
    sizes = [model.given.size for model in given.values()]
    context = read_data(decided, dry=True, teacher_sizes=sizes, sample=None if begun else READ_IMAGES)
    context = with_round_teachers(context, given)
    reading = context.costs.total().session_seconds or 0.0
    check_measurable(context)
    if is_head:
        return _plan_heads(context, reading)
    counts = _Counts.of(context) if begun else _Counts.before_reading(decided, context)
    plans = plan_models(context.settings.model, students_of(context.settings), context.splits.format.size)
    works = list(_works(context, plans, counts))
    reached, state = _first_incomplete(context)
    names = [work.name for work in works]
    first = names.index(reached) if reached in names else len(names)
    if first == len(names):
        done = (_planned(work, State.COMPLETE, 0.0) for work in works if work.name != OTHER)
        return PlanResult(stages=tuple(done))
    speed = MachineSpeed(context, plans, reading * counts.total / _Counts.of(context).total)
    stages = [_planned(work, State.COMPLETE, 0.0) for work in works[:first]]
    for work in works[first:]:
        stages.append(_planned(work, state if work.name == reached else State.ABSENT, _seconds(work, speed)))
    return PlanResult(stages=tuple(stages))


def _plan_heads(context: RunContext, reading: float) -> PlanResult:
    """The plan of a run on a frozen backbone that has begun."""
    reached, state = _first_incomplete(context)
    planned = head_stages(context)
    if reached is None:
        planned = [replace(work, seconds=0.0) for work in planned]
    names = [work.name for work in planned]
    first = names.index(reached) if reached in names else len(names)
    return _head_result(planned, first, state, reading)


def _head_result(planned: Sequence[HeadWork], first: int, state: State, reading: float) -> PlanResult:
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
        stages.append(PlannedStage(name=OTHER, state="absent", samples_seen=0, images_predicted=0, seconds=2 * reading))
    return PlanResult(stages=tuple(stages))


def _planned(work: _Work, state: State, seconds: float | None) -> PlannedStage:
    return PlannedStage(
        name=work.name,
        state=state.value,
        samples_seen=work.samples,
        images_predicted=work.predicted,
        seconds=seconds,
    )


def _seconds(work: _Work, speed: MachineSpeed) -> float | None:
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
    return seconds


def _works(context: RunContext, plans: list[ModelPlan], counts: _Counts) -> Iterator[_Work]:
    """The work of every stage of a run, in order."""
    settings, held_out = context.settings, counts.held_out
    streamed = counts.unlabeled if context.streams else 0
    if needs_leakage_stage(context):
        yield _Work(LEAKAGE, decoded=streamed)
    if len(possible_modes(settings.runtime)) > 1:
        yield _Work(SPEED)
    if pretrains(settings):
        yield _pretraining(context, plans[0])
    if settings.noise.strength == "auto":
        yield from _search(context, plans[0])
    yield _training(context, "teacher", plans[0], settings.train)
    yield _scores("teacher", plans[0], held_out)
    for number, (teacher, student) in enumerate(pairwise(plans[: 1 + settings.rounds.count]), start=1):
        stage, images = labeling_stage(settings, number), counts.unlabeled * settings.rounds.teachers_of(number)
        if number == 1 and context.splits.validation and settings.rounds.teachers_of(settings.rounds.count) > 1:
            yield from (_Work(f"scores/{model.name}", timed=False) for model in context.given_teachers.values())
        yield _Work(stage, predictor=teacher, predicted=images, decoded=streamed)
        yield from (_Work(name) for name in stages_to_aim(settings, f"round-{number}"))
        yield _Work(f"round-{number}/selection")
        yield from _student(context, number, teacher, student)
        yield _scores(f"round-{number}", student, held_out)
    if is_online(settings):
        yield _online(context, plans[-1])
        yield _scores(ONLINE, plans[-1], held_out)
    yield from _controls(context, plans, held_out)
    yield from _fixes(context, plans[-1], held_out)
    if settings.evaluation.suite:
        yield _Work(STAGE, timed=False)
    seen = min(counts.unlabeled, MOST_SHARDS * SHARD_ROWS)
    labels = counts.labeled * (2 if searched_strengths(context) and not context.splits.validation else 1)
    decoded = seen if context.streams else 0
    yield _Work(FINDINGS, predictor=plans[-1], predicted=labels + seen, decoded=decoded)
    yield _Work(OTHER)


def _pretraining(context: RunContext, model: ModelPlan) -> _Work:
    """The pretraining, which takes about as long per view as training takes per sample."""
    settings = context.settings.pretraining
    shown = settings.steps(pretraining_images(context)) * settings.batch_size
    return _Work(PRETRAIN, model, VIEWS * shown, decoded=shown if context.streams else 0)


def _student(context: RunContext, number: int, teacher: ModelPlan, student: ModelPlan) -> Iterator[_Work]:
    """The training of a round's student."""
    settings, batch = context.settings, student_batch(context.settings.train, number)
    predicted = predicted_in_training(context, batch, settings.distillation, _asked(settings.distillation))
    steps, images = settings.train.last, sum(batch.values())
    if not settings.rounds.joint:
        first, second = pretraining_steps(settings.train, number)
        pseudo = batch[PSEUDO] if settings.train.batch == "labeled" else settings.train.batch_size
        decoded = first * pseudo if context.streams else 0
        yield _Work(f"round-{number}/pretrained", student, first * pseudo, teacher, predicted, decoded)
        yield _Work(f"round-{number}/student", student, second * settings.train.batch_size, teacher, predicted)
        return
    decoded = steps * batch[PSEUDO] if context.streams else 0
    yield _Work(f"round-{number}/student", student, steps * images, teacher, predicted, decoded)
    yield from _stored_logits(context, number, teacher, images)


def _controls(context: RunContext, plans: list[ModelPlan], held_out: int) -> Iterator[_Work]:
    """The labels-only models that the last student is compared with, if no round is rolled back."""
    settings, rounds = context.settings, len(plans) - 1
    equal = int(teacher_is_control(settings, plans, rounds))
    samples = settings.train.last * images_behind(settings)
    for group in control_groups(settings, samples):
        for name in control_stages(settings.rounds.controls, equal, group.stage):
            yield _training(context, name, plans[-1], group.train)
            yield _scores(name, plans[-1], held_out)
        equal = 0


def _fixes(context: RunContext, model: ModelPlan, held_out: int) -> Iterator[_Work]:
    """The resolution fix of the last student and of a control, if no round is rolled back."""
    settings, size = context.settings, planned_size(context, model)
    if size is None:
        return
    larger = replace(model, size=size)
    train = with_training(context).settings.train
    student = ONLINE if is_online(settings) else f"round-{settings.rounds.count}"
    for name in (student, CONTROL) if settings.rounds.controls else (student,):
        samples = train.last * train.batch_size
        yield _Work(f"{FIXED}/{name}", larger, samples, trains_last_layer=not settings.fix.last_blocks)
        if size != input_size(context, model):
            yield _scores(f"{RESIZED}/{name}", larger, held_out)
        yield _scores(f"{FIXED}/{name}", larger, held_out)


def _search(context: RunContext, model: ModelPlan) -> Iterator[_Work]:
    """The stages that choose the noise strength."""
    settings, validation = context.settings, context.splits.validation
    strengths = searched_strengths(context)
    for strength in strengths:
        if validation:
            yield _training(context, f"{STRENGTH}/{strength:g}", model, settings.train)
            continue
        shorter = context.with_steps(fold_steps(settings.train.steps)).settings.train
        for fold in range(FOLDS):
            yield _training(context, f"{STRENGTH}/{strength:g}-fold-{fold + 1}", model, shorter)
    labels = len(validation) if validation else len(context.splits.labeled)
    yield _Work(CHOICE, predictor=model, predicted=len(strengths) * labels)


def _training(context: RunContext, name: str, model: ModelPlan, train: TrainSettings) -> _Work:
    with_train = replace(context, settings=context.settings.model_copy(update={"train": train}))
    predicted = predicted_in_training(with_train, {LABELED: train.batch_size}, None, 0)
    return _Work(name, model, train.last * train.batch_size, model, predicted)


def _online(context: RunContext, model: ModelPlan) -> _Work:
    train, online = context.settings.train, context.settings.online
    work = _training(context, STUDENT, model, train)
    answered = train.last * answered_by_average(online_batch(train, online), online)
    return replace(work, predicted=work.predicted + answered)


def _scores(name: str, model: ModelPlan, held_out: int) -> _Work:
    return _Work(f"scores/{name}", predictor=model, predicted=held_out)


def _stored_logits(context: RunContext, number: int, teacher: ModelPlan, images: int) -> Iterator[_Work]:
    """What a round's teacher predicts before its student trains, on steps of ``images``, where that is stored."""
    distillation, train = context.settings.distillation, context.settings.train
    if not _asked(distillation):
        return
    if distillation.teacher_logits == "cached" and distillation.applies_to != "unlabeled":
        labeled = len(context.splits.labeled)
        yield _Work(f"round-{number}/labeled-predictions", predictor=teacher, predicted=labeled)
    if distillation.teacher_logits == "cached_views":
        views = views_of(train.last, images)
        yield _Work(f"round-{number}/views", predictor=teacher, predicted=views)


def _asked(distillation: DistillationSettings) -> int:
    """The number of teachers that a student's training asks."""
    return int(distillation.method != "none" and distillation.needs_teacher)


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
