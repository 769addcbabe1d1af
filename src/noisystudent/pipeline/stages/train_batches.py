"""The batches of a training stage: its streams under noise, split over processes, with what its teachers predict."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from noisystudent.errors import SettingsError
from noisystudent.models.settings import ModelPlan
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.custom import CustomAugmentation
from noisystudent.noise.mixing import build_mixing
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.stages.noise import input_size, noise_at, unlabeled_noise_at
from noisystudent.pipeline.stages.online import online_batches
from noisystudent.pipeline.stages.teacher_logits import cached_teachers, cached_view_teachers
from noisystudent.pipeline.stages.train_data import TrainSpec
from noisystudent.random_streams import stream_key
from noisystudent.training.ahead import SeveralBatches, made_ahead
from noisystudent.training.loader import PSEUDO, UNSHARDED, Batch, BatchLoader, BatchSharding
from noisystudent.training.settings import TrainSettings
from noisystudent.training.teacher_logits import AskTeachers, OnlineTeachers, TeacherLogitsBatches


def build_batches(
    context: RunContext, stage: str, plan: ModelPlan, spec: TrainSpec, strength: float
) -> Callable[[int], Batch]:
    """The batches of a stage by micro-step, in the order and under the noise of the stage's own seed."""
    key = stream_key(context.settings.seed, stage)
    streams = spec.streams(key)
    made = partial(ahead, context, train=context.settings.train, images=sum(spec.batch.values()))
    if spec.online:
        return made(online_batches(context, stage, streams, input_size(context, plan), strength))
    mixing = build_mixing(context.settings.noise, CounterRng(context.settings.seed, f"mixing/{stage}"))
    custom_noise = CustomAugmentation(context.extensions.noise, seed=key) if context.extensions.noise else None

    has_other_noise = PSEUDO in spec.batch and context.settings.noise.unlabeled.changes_images

    def batches_at(size: int, sharding: BatchSharding) -> BatchLoader:
        noise = noise_at(context, stage, size, strength)
        other = unlabeled_noise_at(context, stage, size, strength) if has_other_noise else None
        return BatchLoader(
            streams, noise, unlabeled_noise=other, custom_noise=custom_noise, mixing=mixing, sharding=sharding
        )

    batches = batches_at(input_size(context, plan), context.sharding)
    if not spec.teachers:
        return made(batches)
    return TeacherLogitsBatches(made(batches), _ask_teachers(context, stage, spec, batches, batches_at))


def ahead(context: RunContext, batches: SeveralBatches, train: TrainSettings, images: int) -> Callable[[int], Batch]:
    """The batches of a training, on an accelerator several at a time; ``images`` are those of a step."""
    stored, sharding = context.splits.format, BatchSharding(context.engine.group, train.grad_accum_steps)
    bytes_per_step = images * stored.channels * stored.storage_size**2 // sharding.count
    return made_ahead(batches, context.device, bytes_per_step, train.last * sharding.micro_batches)


def _ask_teachers(
    context: RunContext,
    stage: str,
    spec: TrainSpec,
    batches: BatchLoader,
    batches_at: Callable[[int, BatchSharding], BatchLoader],
) -> AskTeachers:
    """The teachers of a spec, online or cached as the settings say; ``batches_at`` gives batches at another size."""
    assert spec.distillation
    if spec.distillation.teacher_logits == "cached":
        return cached_teachers(context, spec, batches)
    teachers = [teacher.checkpoint.teacher(context.device) for teacher in spec.teachers]
    other_sizes = sorted({teacher.size for teacher in teachers} - {batches.noise.size})
    if other_sizes and context.extensions.noise:
        raise SettingsError(
            f"a noise of your own shows images at the student's {batches.noise.size} pixels only, and a teacher takes "
            f"{other_sizes[0]}; use distillation.teacher_logits cached, or a teacher of the student's size."
        )
    if spec.distillation.teacher_logits == "online":
        made = partial(ahead, context, train=context.settings.train, images=sum(spec.batch.values()))
        by_size = {size: made(batches_at(size, context.sharding)) for size in other_sizes}
        return OnlineTeachers(teachers, by_size, spec.distillation.rows, context.engine.precision)
    whole = [batches_at(teacher.size, UNSHARDED) for teacher in teachers]
    return cached_view_teachers(context, stage, spec, batches, list(zip(teachers, whole, strict=True)))
