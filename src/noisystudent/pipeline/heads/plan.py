"""The stages of a run on a frozen backbone, and how long each takes on this machine."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

from noisystudent.data.images import ImageFormat, decode_shard
from noisystudent.data.unlabeled import InMemoryUnlabeled
from noisystudent.models.settings import plan_teacher
from noisystudent.pipeline.budget.heads import HeadCosts
from noisystudent.pipeline.budget.workload import Workload
from noisystudent.pipeline.build_context import Decided
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.features.cross_fit import CHOICE
from noisystudent.pipeline.features.stage import open_stores, stage_of_features
from noisystudent.pipeline.features.store import FEATURES, FeatureStore
from noisystudent.pipeline.findings.stage import FINDINGS
from noisystudent.pipeline.heads.evidence import CROSS_FIT
from noisystudent.pipeline.heads.small_student import SMALL_STUDENT
from noisystudent.pipeline.labels.class_shares import CLASS_SHARES
from noisystudent.pipeline.leakage import LEAKAGE, needs_leakage_stage
from noisystudent.pipeline.robustness import STAGE as ROBUSTNESS
from noisystudent.run_settings import RunSettings
from noisystudent.training.linear_head import FOLDS

TIMED_IMAGES = 32  # that are read to time the reading


@dataclass(frozen=True)
class HeadWork:
    """A stage, its seconds (None: not estimated), and the images that it predicts and trains on."""

    name: str
    seconds: float | None = 0.0
    predicted: int = 0
    trained: int = 0


def stages_before_reading(decided: Decided) -> tuple[list[HeadWork], float]:
    """The stages of a run that has not begun, and the seconds of reading its images, of which it reads a few.

    Features that an earlier run has stored are counted all the same: only the pixels say which these are.
    """
    settings = decided.settings
    load = Workload.of(decided.sources, settings.data)
    size = _size(decided, load)
    assert decided.backbone
    plan = plan_teacher(settings.model, size)
    costs = HeadCosts((decided.backbone, *decided.teacher_backbones), plan, load, decided.engine, settings)
    views = (load.labeled + load.unlabeled) * (1 + settings.head.views) + load.held_out
    return list(_stages(settings, costs, size, views)), _reading_seconds(decided, load)


def head_stages(context: RunContext) -> list[HeadWork]:
    """The stages in order; the features that the cache has already cost nothing."""
    settings, splits = context.settings, context.splits
    assert context.backbone
    held_out = sum(len(source) for source in (splits.validation, splits.test) if source)
    load = Workload(
        classes=len(splits.classes),
        labeled=len(splits.labeled),
        unlabeled=sum(splits.unlabeled.shard_sizes),
        held_out=held_out,
        edge=splits.format.size,
        channels=splits.format.channels,
    )
    plan = plan_teacher(settings.model, splits.format.size)
    costs = HeadCosts((context.backbone, *context.teacher_backbones), plan, load, context.engine, settings)
    missing = sum(_missing(context, store) for store in open_stores(context, plan)) + held_out
    screened = [HeadWork(LEAKAGE, None)] if needs_leakage_stage(context) else []
    return [*screened, *_stages(settings, costs, splits.format.size, missing)]


def _stages(settings: RunSettings, costs: HeadCosts, size: int, passes: int) -> Iterator[HeadWork]:
    views = settings.head.views
    yield HeadWork(FEATURES, passes * costs.per_view(size), predicted=passes)
    trained = costs.workload.labeled + costs.workload.unlabeled
    for number, seconds in enumerate(costs.others_per_view(size), start=1):
        yield HeadWork(stage_of_features(number), trained * seconds, predicted=trained)
    yield HeadWork(CHOICE, costs.cross_fitting(views))
    yield HeadWork("teacher", costs.labels_only(views))
    yield HeadWork("scores/teacher")
    if settings.selection.prior != "auto":
        yield HeadWork(CLASS_SHARES, FOLDS * costs.labels_only(views))
    for number in range(1, costs.rounds + 1):
        yield HeadWork(f"round-{number}/predictions")
        yield HeadWork(f"round-{number}/selection")
        yield HeadWork(f"round-{number}/student", costs.student(views))
        yield HeadWork(f"scores/round-{number}")
    yield HeadWork(CROSS_FIT, costs.evidence(views))
    if settings.head.student:
        yield from _small_student(settings, costs, size)
    if settings.evaluation.suite:
        yield HeadWork(ROBUSTNESS, None)
    yield HeadWork(FINDINGS, costs.findings(views))


def _small_student(settings: RunSettings, costs: HeadCosts, size: int) -> Iterator[HeadWork]:
    steps = settings.train.last
    yield HeadWork(f"{SMALL_STUDENT}/predictions")
    yield HeadWork(f"{SMALL_STUDENT}/selection")
    seconds = steps * costs.small_student_step(size)
    yield HeadWork(f"{SMALL_STUDENT}/student", seconds, trained=steps * costs.images_per_step)
    yield HeadWork(f"scores/{SMALL_STUDENT}", predicted=costs.workload.held_out)


def _missing(context: RunContext, store: FeatureStore) -> int:
    """Images of training without stored features under a view; of a streamed set, all of it."""
    splits = context.splits
    unlabeled = splits.unlabeled
    if isinstance(unlabeled, InMemoryUnlabeled):
        return store.missing(splits.labeled) + store.missing(unlabeled.images)
    return store.missing(splits.labeled) + sum(unlabeled.shard_sizes)


def _size(decided: Decided, load: Workload) -> int:
    """The size of the images in pixels, which only squashed ones leave to themselves."""
    return load.edge if decided.settings.data.size == "auto" else decided.settings.data.size


def _reading_seconds(decided: Decided, load: Workload) -> float:
    """Seconds of reading all images, from a few."""
    source = decided.sources.get("unlabeled") or decided.sources["labeled"]
    format = ImageFormat(
        _size(decided, load), 1 if load.channels == 1 else 3, squash=decided.settings.data.resize == "squash"
    )
    keys = [record.key for record in itertools.islice(source.read(0), TIMED_IMAGES)]
    started = time.perf_counter()
    decode_shard(source, 0, format, only=keys.__contains__)
    per_image = (time.perf_counter() - started) / max(1, len(keys))
    return per_image * (load.labeled + load.unlabeled + load.held_out)
