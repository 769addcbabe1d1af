"""The stages of a run that trains networks, in order, and the work of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from noisystudent.data.source import SHARD_ROWS
from noisystudent.losses.settings import DistillationSettings
from noisystudent.models.settings import ModelPlan, plan_models
from noisystudent.pipeline.backbones.tune import HEAD
from noisystudent.pipeline.build_context import Decided
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.controls import CONTROL, control_groups, control_stages, teacher_is_control
from noisystudent.pipeline.findings.images import MOST_SHARDS
from noisystudent.pipeline.findings.stage import FINDINGS
from noisystudent.pipeline.fix.in_run import FIXED, RESIZED, planned_size
from noisystudent.pipeline.fix.stage import with_training
from noisystudent.pipeline.fold_calibration import FOLD_CALIBRATION
from noisystudent.pipeline.labels.class_shares import labeling_stage, stages_to_aim
from noisystudent.pipeline.leakage import LEAKAGE, needs_leakage_stage
from noisystudent.pipeline.noise_search import CHOICE, FOLDS, STRENGTH, fold_steps, searched_strengths
from noisystudent.pipeline.pretraining.batches import pretraining_images
from noisystudent.pipeline.pretraining.checks import pretrains
from noisystudent.pipeline.pretraining.stage import PRETRAIN, VIEWS
from noisystudent.pipeline.robustness import STAGE
from noisystudent.pipeline.stage_costs import OTHER
from noisystudent.pipeline.stages.autotune import SPEED, possible_modes
from noisystudent.pipeline.stages.noise import input_size
from noisystudent.pipeline.stages.online import ONLINE, STUDENT, answered_by_average
from noisystudent.pipeline.stages.online_checks import STRONG, images_behind, is_online, online_batch, students_of
from noisystudent.pipeline.stages.student import pretraining_steps
from noisystudent.pipeline.stages.student_choice import LOOKED_AT, STUDENT_CHOICE, chooses_student
from noisystudent.pipeline.stages.train import predicted_in_training
from noisystudent.pipeline.stages.train_data import student_batch
from noisystudent.training.loader import LABELED, PSEUDO
from noisystudent.training.settings import TrainSettings
from noisystudent.training.teacher_logits import views_of


@dataclass(frozen=True)
class Counts:
    """The numbers of images: labeled and unlabeled ones, and those of validation and test together."""

    labeled: int
    unlabeled: int
    held_out: int

    @property
    def total(self) -> int:
        """All of them, at least 1."""
        return max(1, self.labeled + self.unlabeled + self.held_out)

    @classmethod
    def of(cls, context: RunContext) -> Counts:
        """The images that were read."""
        splits = context.splits
        held_out = sum(len(source) for source in (splits.validation, splits.test) if source)
        return cls(len(splits.labeled), sum(splits.unlabeled.shard_sizes), held_out)

    @classmethod
    def before_reading(cls, decided: Decided, context: RunContext) -> Counts:
        """The images of the sources, of which ``context`` has read some, with near-duplicates of held-out images."""
        read, sources = cls.of(context), decided.sources
        unlabeled, test = (sum(sources[role].shard_sizes) if role in sources else 0 for role in ("unlabeled", "test"))
        validation = len(context.splits.validation) if context.splits.validation else 0
        return cls(read.labeled, unlabeled, validation + test)


@dataclass(frozen=True)
class Work:
    """The work of a stage.

    ``model`` trains on ``samples``; ``predictor`` predicts ``predicted`` images; ``compared`` images are compared with
    each other in its features; ``decoded`` images are read from a
    source that does not fit into memory; ``timed``: whether these say how long the stage takes;
    ``trains_last_layer``: most of the network only predicts the samples.
    """

    name: str
    model: ModelPlan | None = None
    samples: int = 0
    predictor: ModelPlan | None = None
    predicted: int = 0
    compared: int = 0
    decoded: int = 0
    timed: bool = True
    trains_last_layer: bool = False


def works_of(context: RunContext, plans: list[ModelPlan], counts: Counts) -> Iterator[Work]:
    """The work of every stage of a run, in order.

    Args:
        context: The run.
        plans: Its models, the teacher's first.
        counts: Its images, where ``context`` has read only some of them.
    """
    settings, held_out = context.settings, counts.held_out
    streamed = counts.unlabeled if context.streams else 0
    if needs_leakage_stage(context):
        yield Work(LEAKAGE, decoded=streamed)
    if len(possible_modes(settings.runtime)) > 1:
        yield Work(SPEED)
    if pretrains(settings):
        yield _pretraining(context, plans[0])
    if settings.noise.strength == "auto":
        yield from _search(context, plans[0])
    yield _training(context, "teacher", plans[0], settings.train)
    yield _scores("teacher", plans[0], held_out)
    if chooses_student(settings):
        images = min(counts.unlabeled, LOOKED_AT * SHARD_ROWS)
        yield Work(STUDENT_CHOICE, predictor=plans[0], predicted=images, decoded=images if context.streams else 0)
    for number, (teacher, student) in enumerate(pairwise(plans[: 1 + settings.rounds.count]), start=1):
        stage, images = labeling_stage(settings, number), counts.unlabeled * settings.rounds.teachers_of(number)
        if number == 1 and context.splits.validation and settings.rounds.teachers_of(settings.rounds.count) > 1:
            yield from (Work(f"scores/{model.name}", timed=False) for model in context.given_teachers.values())
        if settings.selection.foreign == "drop":  # the features of those whose distances are compared
            images += counts.unlabeled + counts.labeled + len(context.splits.validation or ())
        yield Work(stage, predictor=teacher, predicted=images, decoded=streamed)
        if settings.selection.neighbors == "mean":
            compared = counts.labeled + counts.unlabeled
            yield Work(f"round-{number}/predictions", predictor=teacher, predicted=compared, compared=compared)
        yield from (Work(name) for name in stages_to_aim(settings, f"round-{number}"))
        yield Work(f"round-{number}/selection")
        yield from _student(context, number, teacher, student)
        yield _scores(f"round-{number}", student, held_out)
    if is_online(settings):
        yield _online(context, plans[-1])
        yield _scores(ONLINE, plans[-1], held_out)
    yield from _controls(context, plans, held_out)
    yield from _fixes(context, plans[-1], held_out)
    if searched_strengths(context) and not context.splits.validation:
        yield Work(FOLD_CALIBRATION, predictor=plans[0], predicted=counts.labeled)
    if settings.evaluation.suite:
        yield Work(STAGE, timed=False)
    seen = min(counts.unlabeled, MOST_SHARDS * SHARD_ROWS)
    labels = counts.labeled * (2 if searched_strengths(context) and not context.splits.validation else 1)
    decoded = seen if context.streams else 0
    yield Work(FINDINGS, predictor=plans[-1], predicted=labels + seen, decoded=decoded)
    yield Work(OTHER)


def _pretraining(context: RunContext, model: ModelPlan) -> Work:
    """The pretraining, which takes about as long per view as training takes per sample."""
    settings = context.settings.pretraining
    shown = settings.steps(pretraining_images(context)) * settings.batch_size
    return Work(PRETRAIN, model, VIEWS * shown, decoded=shown if context.streams else 0)


def _student(context: RunContext, number: int, teacher: ModelPlan, student: ModelPlan) -> Iterator[Work]:
    """The training of a round's student."""
    settings, batch = context.settings, student_batch(context.settings.train, number)
    predicted = predicted_in_training(context, batch, settings.distillation, _asked(settings.distillation))
    steps, images = settings.train.last, sum(batch.values())
    if not settings.rounds.joint:
        first, second = pretraining_steps(settings.train, number)
        pseudo = batch[PSEUDO] if settings.train.batch == "labeled" else settings.train.batch_size
        decoded = first * pseudo if context.streams else 0
        yield Work(f"round-{number}/pretrained", student, first * pseudo, teacher, predicted, decoded)
        yield Work(f"round-{number}/student", student, second * settings.train.batch_size, teacher, predicted)
        return
    decoded = steps * batch[PSEUDO] if context.streams else 0
    yield Work(f"round-{number}/student", student, steps * images, teacher, predicted, decoded)
    yield from _stored_logits(context, number, teacher, images)


def _controls(context: RunContext, plans: list[ModelPlan], held_out: int) -> Iterator[Work]:
    """The labels-only models that the last student is compared with, if every round is kept."""
    settings, rounds = context.settings, len(plans) - 1
    equal = int(teacher_is_control(settings, plans, rounds))
    samples = settings.train.last * images_behind(settings)
    for group in control_groups(settings, samples):
        for name in control_stages(settings.rounds.controls, equal, group.stage):
            yield _training(context, name, plans[-1], group.train)
            yield _scores(name, plans[-1], held_out)
        equal = 0


def _fixes(context: RunContext, model: ModelPlan, held_out: int) -> Iterator[Work]:
    """The resolution fix of the last student and of a control, if every round is kept."""
    settings, size = context.settings, planned_size(context, model)
    if size is None:
        return
    larger = replace(model, size=size)
    train = with_training(context).settings.train
    student = ONLINE if is_online(settings) else f"round-{settings.rounds.count}"
    for name in (student, CONTROL) if settings.rounds.controls else (student,):
        samples = train.last * train.batch_size
        yield Work(f"{FIXED}/{name}", larger, samples, trains_last_layer=not settings.fix.last_blocks)
        if size != input_size(context, model):
            yield _scores(f"{RESIZED}/{name}", larger, held_out)
        yield _scores(f"{FIXED}/{name}", larger, held_out)


def _search(context: RunContext, model: ModelPlan) -> Iterator[Work]:
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
    yield Work(CHOICE, predictor=model, predicted=len(strengths) * labels)


def _training(context: RunContext, name: str, model: ModelPlan, train: TrainSettings) -> Work:
    with_train = replace(context, settings=context.settings.model_copy(update={"train": train}))
    predicted = predicted_in_training(with_train, {LABELED: train.batch_size}, None, 0)
    return Work(name, model, train.last * train.batch_size, model, predicted)


def _online(context: RunContext, model: ModelPlan) -> Work:
    train, online = context.settings.train, context.settings.online
    work = _training(context, STUDENT, model, train)
    batch = online_batch(train, online)
    answered = train.last * answered_by_average(batch, online)
    decoded = train.last * batch[STRONG] if context.streams else 0
    return replace(work, predicted=work.predicted + answered, decoded=decoded)


def _scores(name: str, model: ModelPlan, held_out: int) -> Work:
    return Work(f"scores/{name}", predictor=model, predicted=held_out)


def _stored_logits(context: RunContext, number: int, teacher: ModelPlan, images: int) -> Iterator[Work]:
    """What a round's teacher predicts before its student trains, on steps of ``images``, where that is stored."""
    distillation, train = context.settings.distillation, context.settings.train
    if not _asked(distillation):
        return
    if distillation.teacher_logits == "cached" and distillation.applies_to != "unlabeled":
        labeled = len(context.splits.labeled)
        yield Work(f"round-{number}/labeled-predictions", predictor=teacher, predicted=labeled)
    if distillation.teacher_logits == "cached_views":
        views = views_of(train.last, images)
        yield Work(f"round-{number}/views", predictor=teacher, predicted=views)


def _asked(distillation: DistillationSettings) -> int:
    """The number of teachers that a student's training asks."""
    return int(distillation.method != "none" and distillation.needs_teacher)


def expect_stages(context: RunContext) -> tuple[str, ...]:
    """Tells the reporter of a run which stages there are, so that it shows how far the whole run is; returns them."""
    settings = context.settings
    if settings.model.tune == HEAD:  # its stages take seconds
        return ()
    plans = plan_models(settings.model, students_of(settings), context.splits.format.size)
    works = works_of(context, plans, Counts.of(context))
    samples = {work.name: work.samples for work in works if work.name != OTHER}
    context.reporter.expect(samples)
    return tuple(samples)
