"""Teachers that answered before: for whole pictures, or for every view of a training, which is then replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisystudent.artifacts.folder import INPUTS, State, commit, differences, read_json, state_of
from noisystudent.data.unlabeled import KeptPile
from noisystudent.errors import MismatchError, SettingsError
from noisystudent.models.teacher import Teacher
from noisystudent.pipeline.context import Workshop
from noisystudent.pipeline.pseudo_labels import label_pile
from noisystudent.pipeline.train_data import Lesson, Tutor
from noisystudent.pseudo_labels import predictions
from noisystudent.training.loader import Batches, PoolFeed
from noisystudent.training.teacher_logits import ReplayedTeachers, StoredTeachers, ViewStore

VIEWS = "views"  # the kind in a manifest
_MODEL_NOISE = {"preset", "strength", "strengths", "teacher", "dropout", "stochastic_depth"}


def stored(workshop: Workshop, lesson: Lesson, batches: Batches) -> StoredTeachers:
    """The tutors' predictions for the lesson's pictures, made in stages of their own, as tables beside the feeds.

    Raises ``SettingsError`` where pictures are streamed, or blended: a prediction is of one picture.
    """
    assert lesson.distillation
    _require_kept(workshop, "stored")
    if workshop.shows_whole_batches:
        raise SettingsError(
            "distillation.teaching stored has predictions of single pictures, and noise.mixup, noise.cutmix or a noise "
            "of your own makes others of them; use distillation.teaching online or views."
        )
    on, pool = lesson.distillation.on, len(workshop.pool)
    labeled = len(workshop.roles.labeled)
    answers = torch.zeros(pool, len(lesson.tutors), len(workshop.roles.classes), device=workshop.device)
    for number, tutor in enumerate(lesson.tutors):
        if labeled and on != "unlabeled":
            pile = KeptPile(workshop.roles.labeled.without_labels(), [])
            answers[:labeled, number] = _labels_by(workshop, tutor, tutor.on_labeled, pile)
        if pool > labeled and on != "labeled":
            assert isinstance(workshop.roles.unlabeled, KeptPile)
            answers[labeled:, number] = _labels_by(workshop, tutor, tutor.on_unlabeled, workshop.roles.unlabeled)
    tables = []
    for feed in batches.feeds:
        assert isinstance(feed, PoolFeed)
        tables.append(answers[torch.from_numpy(feed.rows).to(workshop.device)])
    return StoredTeachers(tables, batches, lesson.distillation.rows)


def _labels_by(workshop: Workshop, tutor: Tutor, name: str, pile: KeptPile) -> Tensor:
    """A tutor's log-probabilities for a pile, stored in the stage ``name``: float32 [N, K]."""
    folder = label_pile(workshop, name, tutor.trained, pile)
    _, values = predictions.read_all(folder, len(workshop.roles.classes))
    return torch.from_numpy(values).to(workshop.device)


def replayed(
    workshop: Workshop, name: str, lesson: Lesson, batches: Batches, teachers: Sequence[tuple[Teacher, Batches]]
) -> ReplayedTeachers:
    """The tutors' predictions for every view that the stage ``name`` will show, each made once.

    ``teachers`` are the tutors as such, each with the stage's whole batches at its own size. Raises ``MismatchError``
    where the folder that the settings name holds the views of another training.
    """
    assert lesson.distillation
    _require_kept(workshop, "views")
    stores = [
        _store_views(workshop, name, lesson, tutor, *each) for tutor, each in zip(lesson.tutors, teachers, strict=True)
    ]

    def read(step: int) -> Tensor:
        return torch.stack([store.read(step) for store in stores], dim=1)

    return ReplayedTeachers(read, batches, lesson.distillation.rows)


def _store_views(
    workshop: Workshop, name: str, lesson: Lesson, tutor: Tutor, teacher: Teacher, whole: Batches
) -> ViewStore:
    """One tutor's answers for all steps of a stage: those that are not there yet are made, by all processes."""
    assert lesson.distillation
    settings, engine = workshop.settings, workshop.engine
    inputs: dict[str, Any] = {
        "teacher": tutor.trained.fingerprint,
        "stage": name,
        "seed": settings.seed,
        **lesson.inputs,
        "batch": lesson.batch,
        "noise": settings.noise.model_dump(exclude=_MODEL_NOISE),
        "strength": whole.noise.strength,
        "size": teacher.size,
        "precision": engine.precision,
    }
    kept_by_user = lesson.distillation.views
    if kept_by_user:
        workshop = replace(workshop, folder=Path(kept_by_user))
        folder_name = tutor.trained.fingerprint[:12]
        engine.ranks.first_says(lambda: _refuse_others(workshop.folder / folder_name, inputs))
    else:
        folder_name = f"{VIEWS}/{name}/{tutor.trained.name}"
    done = workshop.is_done(folder_name, inputs)
    store = ViewStore(workshop.folder / folder_name, whole, len(workshop.roles.classes))
    missing = engine.ranks.as_first(store.missing(settings.train.last))
    if missing or not done:
        own = missing[engine.ranks.rank :: engine.ranks.count]
        with workshop.reporter.bar(folder_name, len(own) * store.rows_a_part, "views") as bar:
            for part in own:
                store.write(part, teacher, engine.precision)
                bar.advance(store.rows_a_part)
        engine.ranks.wait()
        engine.ranks.first_says(lambda: commit(store.folder, VIEWS, inputs))
    return store


def _refuse_others(folder: Path, inputs: dict[str, Any]) -> None:
    if state_of(folder, inputs) is State.STALE:
        changes = "; ".join(differences(read_json(folder / INPUTS), inputs))
        raise MismatchError(
            f"{folder} holds a teacher's answers for other views than those of this training; what differs: {changes}. "
            "Take its settings and sources, or another folder for distillation.views."
        )


def _require_kept(workshop: Workshop, teaching: str) -> None:
    if not isinstance(workshop.roles.unlabeled, KeptPile):
        raise SettingsError(
            f"distillation.teaching {teaching} keeps the pictures in memory, and the unlabeled ones are streamed; use "
            "distillation.teaching online."
        )
