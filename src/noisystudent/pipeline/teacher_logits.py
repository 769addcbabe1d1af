"""Teachers that answered before: for whole images, or for every view of a training, which is then replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisystudent.artifacts.folder import INPUTS, State, commit, differences, read_json, state_of
from noisystudent.data.unlabeled import InMemoryUnlabeled
from noisystudent.errors import MismatchError, SettingsError
from noisystudent.models.teacher import Teacher
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.pseudo_labels import label_unlabeled
from noisystudent.pipeline.train_data import TeacherRef, TrainSpec
from noisystudent.pseudo_labels import predictions
from noisystudent.training.loader import BatchLoader, InMemoryStream
from noisystudent.training.teacher_logits import CachedTeachers, CachedViewTeachers, ViewCache

VIEWS = "views"  # the kind in a manifest
_MODEL_NOISE = {"preset", "strength", "strengths", "teacher", "dropout", "stochastic_depth"}


def cached_teachers(context: RunContext, spec: TrainSpec, batches: BatchLoader) -> CachedTeachers:
    """The tutors' predictions for the lesson's images, made in stages of their own, as tables beside the feeds.

    Raises ``SettingsError`` where images are streamed, or blended: a prediction is of one image.
    """
    assert spec.distillation
    _require_kept(context, "cached")
    if context.shows_whole_batches:
        raise SettingsError(
            "distillation.teacher_logits cached has predictions of single images, and noise.mixup, noise.cutmix or a "
            "noise of your own makes others of them; use distillation.teacher_logits online or cached_views."
        )
    on, buffer = spec.distillation.applies_to, len(context.buffer)
    labeled = len(context.splits.labeled)
    teacher_logits_of = torch.zeros(buffer, len(spec.teacher_refs), len(context.splits.classes), device=context.device)
    for number, teacher_ref in enumerate(spec.teacher_refs):
        if labeled and on != "unlabeled":
            unlabeled = InMemoryUnlabeled(context.splits.labeled.without_labels(), [])
            teacher_logits_of[:labeled, number] = _labels_by(context, teacher_ref, teacher_ref.on_labeled, unlabeled)
        if buffer > labeled and on != "labeled":
            assert isinstance(context.splits.unlabeled, InMemoryUnlabeled)
            teacher_logits_of[labeled:, number] = _labels_by(
                context, teacher_ref, teacher_ref.on_unlabeled, context.splits.unlabeled
            )
    tables = []
    for stream in batches.streams:
        assert isinstance(stream, InMemoryStream)
        tables.append(teacher_logits_of[torch.from_numpy(stream.rows).to(context.device)])
    return CachedTeachers(tables, batches, spec.distillation.rows)


def _labels_by(context: RunContext, teacher_ref: TeacherRef, name: str, unlabeled: InMemoryUnlabeled) -> Tensor:
    """A tutor's log-probabilities for a pile, stored in the stage ``name``: float32 [N, K]."""
    folder = label_unlabeled(context, name, teacher_ref.checkpoint, unlabeled)
    _, values = predictions.read_all(folder, len(context.splits.classes))
    return torch.from_numpy(values).to(context.device)


def cached_view_teachers(
    context: RunContext,
    name: str,
    spec: TrainSpec,
    batches: BatchLoader,
    teachers: Sequence[tuple[Teacher, BatchLoader]],
) -> CachedViewTeachers:
    """The tutors' predictions for every view that the stage ``name`` will show, each made once.

    ``teachers`` are the tutors as such, each with the stage's whole batches at its own size. Raises ``MismatchError``
    where the folder that the settings name holds the views of another training.
    """
    assert spec.distillation
    _require_kept(context, "cached_views")
    stores = [
        _store_views(context, name, spec, teacher_ref, *each)
        for teacher_ref, each in zip(spec.teacher_refs, teachers, strict=True)
    ]

    def read(step: int) -> Tensor:
        return torch.stack([store.read(step) for store in stores], dim=1)

    return CachedViewTeachers(read, batches, spec.distillation.rows)


def _store_views(
    context: RunContext, name: str, spec: TrainSpec, teacher_ref: TeacherRef, teacher: Teacher, whole: BatchLoader
) -> ViewCache:
    """One tutor's answers for all steps of a stage: those that are not there yet are made, by all processes."""
    assert spec.distillation
    settings, engine = context.settings, context.engine
    inputs: dict[str, Any] = {
        "teacher": teacher_ref.checkpoint.fingerprint,
        "stage": name,
        "seed": settings.seed,
        **spec.inputs,
        "batch": spec.batch,
        "noise": settings.noise.model_dump(exclude=_MODEL_NOISE),
        "strength": whole.noise.strength,
        "size": teacher.size,
        "precision": engine.precision,
    }
    given_cache = spec.distillation.cache
    if given_cache:
        context = replace(context, folder=Path(given_cache))
        folder_name = teacher_ref.checkpoint.fingerprint[:12]
        engine.group.on_main(lambda: _refuse_others(context.folder / folder_name, inputs))
    else:
        folder_name = f"{VIEWS}/{name}/{teacher_ref.checkpoint.name}"
    done = context.is_done(folder_name, inputs)
    store = ViewCache(context.folder / folder_name, whole, len(context.splits.classes))
    missing = engine.group.broadcast(store.missing(settings.train.last))
    if missing or not done:
        own = missing[engine.group.rank :: engine.group.world_size]
        with context.reporter.bar(folder_name, len(own) * store.rows_per_part, "views") as bar:
            for part in own:
                store.write(part, teacher, engine.precision)
                bar.advance(store.rows_per_part)
        engine.group.wait()
        engine.group.on_main(lambda: commit(store.folder, VIEWS, inputs))
    return store


def _refuse_others(folder: Path, inputs: dict[str, Any]) -> None:
    if state_of(folder, inputs) is State.STALE:
        changes = "; ".join(differences(read_json(folder / INPUTS), inputs))
        raise MismatchError(
            f"{folder} holds a teacher's answers for other views than those of this training; what differs: {changes}. "
            "Take its settings and sources, or another folder for distillation.cache."
        )


def _require_kept(context: RunContext, teacher_logits: str) -> None:
    if not isinstance(context.splits.unlabeled, InMemoryUnlabeled):
        raise SettingsError(
            f"distillation.teacher_logits {teacher_logits} keeps the images in memory, and the unlabeled ones are "
            "streamed; use distillation.teacher_logits online."
        )
