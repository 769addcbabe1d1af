"""Cached teachers of a distillation: predictions for whole images, or for every view of a training stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisystudent.artifacts.changes import in_words
from noisystudent.artifacts.folder import INPUTS, State, differences, read_json, state_of
from noisystudent.data.unlabeled import InMemoryUnlabeled
from noisystudent.errors import MismatchError, SettingsError
from noisystudent.models.teacher import TeacherModel
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.labels.pseudo_labels import label_unlabeled
from noisystudent.pipeline.stages.train_data import TeacherRef, TrainSpec
from noisystudent.pseudo_labels import predictions
from noisystudent.results.run import StageCost
from noisystudent.training.loader import BatchLoader, InMemoryStream
from noisystudent.training.teacher_logits import CachedTeachers, CachedViewTeachers, ViewCache

VIEWS = "views"  # the kind in a manifest
_NOISE_UNSEEN_BY_TEACHERS = ("preset", "strength", "strengths", "teacher", "dropout", "stochastic_depth")


def check_cached(context: RunContext) -> None:
    """Raises ``SettingsError`` where predictions that are kept cannot be of the images: streamed or mixed ones."""
    distillation = context.settings.distillation
    if not distillation.needs_teacher or distillation.teacher_logits == "online":
        return
    if context.streams:
        raise SettingsError(
            f"distillation.teacher_logits {distillation.teacher_logits} keeps the images in memory, and the unlabeled "
            "ones are streamed; use distillation.teacher_logits online."
        )
    if distillation.teacher_logits == "cached" and context.needs_whole_batches:
        raise SettingsError(
            "distillation.teacher_logits cached has predictions of single images, and noise.mixup, noise.cutmix or a "
            "noise of your own changes images; use distillation.teacher_logits online or cached_views."
        )


def cached_teachers(context: RunContext, spec: TrainSpec, batches: BatchLoader) -> CachedTeachers:
    """The teachers' predictions for all images of a spec, made in stages of their own, one table per stream."""
    assert spec.distillation
    applies_to, total = spec.distillation.applies_to, len(context.buffer)
    labeled, unlabeled = context.splits.labeled, context.splits.unlabeled
    shape = (total, len(spec.teachers), len(context.splits.classes))
    log_probabilities = torch.zeros(shape, device=context.device)
    for number, teacher in enumerate(spec.teachers):
        if len(labeled) and applies_to != "unlabeled":
            images = InMemoryUnlabeled(labeled.without_labels(), [])
            log_probabilities[: len(labeled), number] = _predictions_of(context, teacher, teacher.on_labeled, images)
        if total > len(labeled) and applies_to != "labeled":
            assert isinstance(unlabeled, InMemoryUnlabeled)
            log_probabilities[len(labeled) :, number] = _predictions_of(
                context, teacher, teacher.on_unlabeled, unlabeled
            )
    tables = []
    for stream in batches.streams:
        assert isinstance(stream, InMemoryStream)
        tables.append(log_probabilities[torch.from_numpy(stream.rows).to(context.device)])
    return CachedTeachers(tables, batches, spec.distillation.rows)


def _predictions_of(context: RunContext, teacher: TeacherRef, stage: str, images: InMemoryUnlabeled) -> Tensor:
    """A teacher's log-probabilities for images, stored in ``stage``: float32 [N, K]."""
    folder = label_unlabeled(context, stage, teacher.checkpoint, images)
    _, log_probabilities = predictions.read_all(folder, len(context.splits.classes))
    return torch.from_numpy(log_probabilities).to(context.device)


def cached_view_teachers(
    context: RunContext,
    stage: str,
    spec: TrainSpec,
    batches: BatchLoader,
    teachers: Sequence[tuple[TeacherModel, BatchLoader]],
) -> CachedViewTeachers:
    """The teachers' predictions for every view that ``stage`` will show, each made once.

    ``teachers`` pairs each teacher with the stage's whole batches at the teacher's size. Raises ``MismatchError`` where
    the folder ``distillation.cache`` holds the views of another training.
    """
    assert spec.distillation
    caches = [
        _cache_views(context, stage, spec, reference, teacher, whole)
        for reference, (teacher, whole) in zip(spec.teachers, teachers, strict=True)
    ]

    def read(step: int) -> Tensor:
        return torch.stack([cache.read(step) for cache in caches], dim=1)

    return CachedViewTeachers(read, batches, spec.distillation.rows)


def _cache_views(
    context: RunContext, stage: str, spec: TrainSpec, reference: TeacherRef, teacher: TeacherModel, whole: BatchLoader
) -> ViewCache:
    """One teacher's predictions for all steps of a stage; all processes together make those that are missing."""
    assert spec.distillation
    settings, engine = context.settings, context.engine
    inputs: dict[str, Any] = {
        "teacher": reference.checkpoint.fingerprint,
        "stage": stage,
        "seed": settings.seed,
        **spec.inputs,
        "batch": spec.batch,
        "noise": settings.noise.deciding(*_NOISE_UNSEEN_BY_TEACHERS),
        "strength": whole.noise.strength,
        "size": teacher.size,
        "precision": engine.precision,
    }
    if whole.unlabeled_noise:
        inputs["unlabeled_noise"] = settings.noise.unlabeled.model_dump()
    given_cache = spec.distillation.cache
    if given_cache:
        context = replace(context, folder=Path(given_cache), renamed={})
        cache_stage = reference.checkpoint.fingerprint[:12]
        engine.group.on_main(lambda: _refuse_other_views(context.folder_of(cache_stage), inputs))
    else:
        cache_stage = f"{VIEWS}/{stage}/{reference.checkpoint.name}"
    complete = context.is_complete(cache_stage, inputs)
    cache = ViewCache(context.folder_of(cache_stage), whole, len(context.splits.classes))
    missing = engine.group.broadcast(cache.missing(settings.train.last))
    if missing or not complete:
        context.costs.begin(cache_stage, cache.folder)  # a longer training adds views to complete ones
        own_parts = missing[engine.group.rank :: engine.group.world_size]
        with context.reporter.bar(cache_stage, len(own_parts) * cache.rows_per_part, "views") as bar:
            for part in own_parts:
                cache.write(part, teacher, engine.precision)
                bar.advance(cache.rows_per_part)
        engine.group.wait()
        views = len(missing) * cache.rows_per_part
        cost = StageCost(name=cache_stage, images_predicted=views)
        engine.group.on_main(lambda: context.commit(VIEWS, inputs, cost))
    return cache


def _refuse_other_views(folder: Path, inputs: dict[str, Any]) -> None:
    if state_of(folder, inputs) is State.STALE:
        changes = "; ".join(in_words(differences(read_json(folder / INPUTS), inputs)))
        raise MismatchError(
            f"{folder} holds a teacher's predictions for other views than those of this training; what differs: "
            f"{changes}. Use the settings and sources of that training, or another folder for distillation.cache."
        )
