"""The stages of a run on a frozen backbone, and how long each takes on this machine."""

from __future__ import annotations

from collections.abc import Iterator

from noisystudent.data.unlabeled import InMemoryUnlabeled
from noisystudent.models.settings import plan_models
from noisystudent.pipeline.budget.heads import HeadCosts
from noisystudent.pipeline.budget.workload import Workload
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.heads.cross_fit import CHOICE
from noisystudent.pipeline.heads.evidence import CROSS_FIT
from noisystudent.pipeline.heads.features import open_stores
from noisystudent.pipeline.heads.store import FEATURES, FeatureStore

Planned = tuple[str, int, float]  # a stage, the images that it predicts, and its seconds


def head_stages(context: RunContext) -> Iterator[Planned]:
    """The stages in order; the features that the cache has already cost nothing."""
    settings, splits = context.settings, context.splits
    assert context.backbone
    held_out = sum(len(source) for source in (splits.validation, splits.test) if source)
    unlabeled = sum(splits.unlabeled.shard_sizes)
    load = Workload(
        classes=len(splits.classes),
        labeled=len(splits.labeled),
        unlabeled=unlabeled,
        held_out=held_out,
        edge=splits.format.size,
        channels=splits.format.channels,
    )
    plan = plan_models(settings.model, settings.rounds.count, splits.format.size)[0]
    costs = HeadCosts(context.backbone, plan, load, context.engine, settings.rounds.count)
    size, views = splits.format.size, settings.head.views
    stores = open_stores(context, plan)
    missing = sum(_missing(context, store) for store in stores) + held_out
    yield FEATURES, missing, missing * costs.per_view(size)
    yield CHOICE, 0, costs.cross_fitting(views)
    yield "teacher", 0, costs.labels_only(views)
    yield "scores/teacher", 0, 0.0
    for number in range(1, settings.rounds.count + 1):
        yield f"round-{number}/predictions", 0, 0.0
        yield f"round-{number}/selection", 0, 0.0
        yield f"round-{number}/student", 0, costs.student(views)
        yield f"scores/round-{number}", 0, 0.0
    yield CROSS_FIT, 0, costs.evidence(views)


def _missing(context: RunContext, store: FeatureStore) -> int:
    """Images of training without stored features under a view; of a streamed set, all of it."""
    splits = context.splits
    unlabeled = splits.unlabeled
    if isinstance(unlabeled, InMemoryUnlabeled):
        return store.missing(splits.labeled) + store.missing(unlabeled.images)
    return store.missing(splits.labeled) + sum(unlabeled.shard_sizes)
