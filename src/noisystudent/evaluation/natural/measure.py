"""Naturally shifted sets: ImageNet-A, -R, -O, -Sketch, ImageNetV2, labeled sources of one's own, reassessed labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from noisystudent.artifacts.folder import fingerprint_of
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError
from noisystudent.evaluation.eval_dataset import EvalBatch, EvalDataset
from noisystudent.evaluation.natural.label_sets import LabelSet, label_sets_of, read_label_sets
from noisystudent.evaluation.natural.metrics import (
    ClassMapping,
    Hits,
    LabelSetHits,
    confidences_within,
    difference_from_published,
    label_set_hits,
    label_set_scores,
    map_classes,
    out_of_distribution_scores,
    rows_within,
    subset_hits,
    subset_scores,
)
from noisystudent.evaluation.per_image import Bools, Floats
from noisystudent.evaluation.results_cache import Columns, ResultCache
from noisystudent.evaluation.settings import LABEL_SETS, OUT_OF_DISTRIBUTION, EvaluationSettings
from noisystudent.models.imagenet import imagenet_synsets
from noisystudent.models.predictor import Predictor
from noisystudent.runtime.progress import Bar, Reporter

_CLEAN, _SHIFTED = "clean", "shifted"  # pieces of a set: its classes' images in --source, and its own

Take = Callable[[Floats, EvalBatch], Columns]  # what is kept of some images, by their log-probabilities


@dataclass(frozen=True)
class NaturalSet:
    """A set that ``evaluation.natural`` names: images, or label sets of the clean ones, and its classes' outputs."""

    name: str
    place: str
    found: ClassMapping
    content: Source | Sequence[LabelSet]

    @property
    def fingerprint(self) -> str:
        """Identifies what is in it."""
        return fingerprint_of(self.content) if isinstance(self.content, Sequence) else self.content.fingerprint


def open_natural(settings: EvaluationSettings, classes: Sequence[str]) -> list[NaturalSet]:
    """The sets that the settings name, for a model of these classes.

    Raises ``DataError`` for one that is not there, or has a class that is none of them.
    """
    return [_opened(name, place, classes) for name, place in settings.natural_places.items()]


def _opened(name: str, place: str, classes: Sequence[str]) -> NaturalSet:
    try:
        if name == LABEL_SETS:
            found = map_classes(imagenet_synsets(), classes)
            return NaturalSet(name, place, found, read_label_sets(Path(place).expanduser(), classes=len(found.columns)))
        source = open_source(place, labeled=True)
        return NaturalSet(name, place, map_classes(source.classes or (), classes), source)
    except DataError as error:
        raise DataError(f"evaluation.natural {name}={place}: {error}") from error


@dataclass(frozen=True)
class _Shifted:
    """Images of some of the subject's classes, or of ImageNet-O, that are held against clean ones."""

    given: NaturalSet
    classes: tuple[str, ...]
    dataset: EvalDataset
    sub: ResultCache

    def of_clean(self, rows: Floats, batch: EvalBatch) -> Columns:
        mask, labels = rows_within(batch.labels, self.given.found)
        return vars(subset_hits(rows[mask], labels, self.given.found))

    def of_its_own(self, rows: Floats, batch: EvalBatch) -> Columns:
        if self.given.name == OUT_OF_DISTRIBUTION:  # its images are of none of its classes
            return {"confidence": confidences_within(rows, self.given.found)}
        return self.of_clean(rows, batch)


@dataclass(frozen=True)
class _Reassessed:
    """Other labels for the clean images."""

    given: NaturalSet
    sets: Sequence[LabelSet]
    sub: ResultCache

    def of_clean(self, rows: Floats, batch: EvalBatch) -> Columns:
        return vars(label_set_hits(rows, label_sets_of(batch.keys, self.sets), self.given.found.columns))


def measure_natural(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> dict[str, Any]:
    """The scores of each set in ``evaluation.natural``, by its name, beside those of clean images of its classes.

    ``imagenet-o`` is told apart from clean images, ``real`` are label sets of the clean images, any other set is
    scored among its own classes; ``gap`` is its top-1 accuracy minus that of the audience's images of the same
    classes, None where there are none. ``notes`` say in what a set is not the published one, and what it lacks. The
    clean images are gone through once for all sets. Raises ``DataError`` for a set with a class that the subject has
    not, and for more unreadable images than the audience allows of its own.
    """
    given = open_natural(settings, predictor.classes)
    sets = [_prepared(each, predictor, dataset, settings, cache) for each in given]
    new = [each for each in sets if not each.sub.has_columns(_CLEAN)]
    shifted = [each for each in sets if isinstance(each, _Shifted)]
    rows = sum(each.dataset.count for each in shifted if not each.sub.has_columns(_SHIFTED))
    with reporter.bar("natural", rows + (dataset.count if new else 0), "images") as bar:
        if new:
            takes = [each.of_clean for each in new]
            for each, columns in zip(new, _looked(predictor, dataset, takes, bar), strict=True):
                each.sub.columns(_CLEAN, partial(dict, columns))
        return {each.given.name: _told(predictor, each, bar) for each in sets}


def _prepared(
    given: NaturalSet, predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache
) -> _Shifted | _Reassessed:
    def sub(fingerprint: str) -> ResultCache:
        return cache.sub(f"natural/{given.name}", {"set": fingerprint})

    if isinstance(given.content, Sequence):
        return _Reassessed(given, given.content, sub(given.fingerprint))
    allowed = dataset.max_corrupt_fraction
    shown = EvalDataset.of_source(
        given.content, predictor.format, given.found, images=settings.max_images, max_corrupt_fraction=allowed
    )
    return _Shifted(given, given.content.classes or (), shown, sub(shown.fingerprint))


def _looked(predictor: Predictor, dataset: EvalDataset, takes: Sequence[Take], bar: Bar) -> list[Columns]:
    """What each of ``takes`` keeps of all images, in one pass; log-probabilities are held for some at a time."""
    parts: list[list[Columns]] = [[] for _ in takes]
    for batch in dataset.batches(predictor.size, predictor.device):
        rows = predictor.log_probabilities(batch.views)
        for part, take in zip(parts, takes, strict=True):
            part.append(take(rows, batch))
        bar.advance(len(batch.labels))
    return [{name: np.concatenate([each[name] for each in part]) for name in part[0]} for part in parts]


def _told(predictor: Predictor, each: _Shifted | _Reassessed, bar: Bar) -> dict[str, Any]:
    clean = each.sub.columns(_CLEAN, dict)
    told = {"place": each.given.place, "classes": each.given.found.explanation}
    if isinstance(each, _Reassessed):
        return {**told, **label_set_scores(LabelSetHits(**clean), each.given.found.outputs), "notes": []}
    own = each.sub.columns(_SHIFTED, lambda: _looked(predictor, each.dataset, [each.of_its_own], bar)[0])
    score = _detection if each.given.name == OUT_OF_DISTRIBUTION else _accuracy
    count = len(own["confidence"])
    return {**told, "count": count, **score(own, Hits(**clean), each), "notes": _notes(own, Hits(**clean), each)}


def _detection(own: Columns, clean: Hits, each: _Shifted) -> dict[str, Any]:
    scores = out_of_distribution_scores(clean.confidence, own["confidence"], each.given.found)
    return {**scores, "clean_count": len(clean.labels)}


def _accuracy(own: Columns, clean: Hits, each: _Shifted) -> dict[str, Any]:
    hits, variant, clean_count = Hits(**own), each.given.found.variant, len(clean.labels)
    error = _standard_error(hits.correct)
    told = {
        **subset_scores(hits, each.given.found),
        f"top1_{variant}_standard_error": error,
        "clean_count": clean_count,
    }
    if not clean_count:
        return {**told, f"clean_top1_{variant}": None, f"clean_top5_{variant}": None, "gap": None}
    return {
        **told,
        f"clean_top1_{variant}": float(clean.correct.mean()),
        f"clean_top5_{variant}": float(clean.top5_correct.mean()),
        "gap": float(hits.correct.mean() - clean.correct.mean()),
        "gap_standard_error": math.hypot(error, _standard_error(clean.correct)),
    }


def _standard_error(correct: Bools) -> float:
    return float(correct.std()) / math.sqrt(len(correct))


def _notes(own: Columns, clean: Hits, each: _Shifted) -> list[str]:
    """What must be known to read the scores."""
    classes, count = len(each.classes), len(own["confidence"])
    notes = [difference_from_published(each.given.name, each.classes)]
    if "labels" in own and (without := classes - len(np.unique(own["labels"]))):
        notes.append(f"{without} of its {classes} classes have no image, and are chosen among all the same.")
    if without := classes - len(np.unique(clean.labels)):
        notes.append(f"{without} of its {classes} classes have no clean image to compare with.")
    if unreadable := each.dataset.count - count:
        notes.append(f"{unreadable} of {each.dataset.count} images could not be read and are left out.")
    return [note for note in notes if note]
