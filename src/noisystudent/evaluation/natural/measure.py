"""Naturally shifted sets: ImageNet-A, -R, -O, -Sketch, ImageNetV2, any labeled source, and reassessed labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from noisystudent.artifacts.folder import fingerprint_of
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.errors import DataError
from noisystudent.evaluation.class_mapping import ClassMapping, map_classes
from noisystudent.evaluation.eval_dataset import EvalBatch, EvalDataset
from noisystudent.evaluation.metrics.accuracy import standard_error
from noisystudent.evaluation.natural.label_sets import LabelSet, label_sets_of, read_label_sets
from noisystudent.evaluation.natural.metrics import (
    Hits,
    LabelSetHits,
    confidences_within,
    difference_from_published,
    label_set_hits,
    label_set_scores,
    out_of_distribution_scores,
    rows_within,
    subset_hits,
    subset_scores,
)
from noisystudent.evaluation.natural.results import NaturalResult
from noisystudent.evaluation.per_image import Floats
from noisystudent.evaluation.results_cache import Columns, ResultCache
from noisystudent.evaluation.settings import LABEL_SETS, OUT_OF_DISTRIBUTION, EvaluationSettings
from noisystudent.models.imagenet import imagenet_synsets
from noisystudent.models.predictor import Predictor
from noisystudent.runtime.progress import Bar, Reporter

_CLEAN, _SHIFTED = "clean", "shifted"  # a set's entries: the clean images of its classes, and its own images

Reduce = Callable[[Floats, EvalBatch], Columns]  # from the log-probabilities of a batch to a few numbers per image
Scores = dict[str, float | None]


@dataclass(frozen=True)
class NaturalSet:
    """A set that ``evaluation.natural`` names.

    Attributes:
        name: its name in the settings.
        source: its source in the settings.
        mapping: the model output of each of its classes.
        content: its images, or label sets for the clean images.
    """

    name: str
    source: str
    mapping: ClassMapping
    content: Source | Sequence[LabelSet]

    @property
    def fingerprint(self) -> str:
        """Identifies the content."""
        return fingerprint_of(self.content) if isinstance(self.content, Sequence) else self.content.fingerprint


def check(settings: EvaluationSettings, classes: Sequence[str]) -> None:
    """Raises ``DataError`` if a set is missing or has a class that is unknown to a model with these ``classes``."""
    open_natural(settings, classes)


def open_natural(settings: EvaluationSettings, classes: Sequence[str]) -> list[NaturalSet]:
    """Opens the sets that the settings name.

    Args:
        settings: the evaluation settings.
        classes: the class of each output of the model.

    Returns:
        The sets in the order of the settings.

    Raises:
        DataError: a set is missing, or has a class that is unknown to the model.
    """
    return [_open(name, source, classes) for name, source in settings.natural_sources.items()]


def _open(name: str, spec: str, classes: Sequence[str]) -> NaturalSet:
    try:
        if name == LABEL_SETS:
            mapping = map_classes(imagenet_synsets(), classes)
            label_sets = read_label_sets(Path(spec).expanduser(), classes=len(mapping.columns))
            return NaturalSet(name, spec, mapping, label_sets)
        source = open_source(spec, labeled=True)
        return NaturalSet(name, spec, map_classes(source.classes or (), classes), source)
    except DataError as error:
        raise DataError(f"evaluation.natural {name}={spec}: {error}") from error


@dataclass(frozen=True)
class _ShiftedImages:
    """A set of images of some of the model's classes, or ImageNet-O, which is compared with clean images."""

    opened: NaturalSet
    classes: tuple[str, ...]
    dataset: EvalDataset
    cache: ResultCache

    def reduce_clean(self, rows: Floats, batch: EvalBatch) -> Columns:
        mask, labels = rows_within(batch.labels, self.opened.mapping)
        return vars(subset_hits(rows[mask], labels, self.opened.mapping))

    def reduce_shifted(self, rows: Floats, batch: EvalBatch) -> Columns:
        if self.opened.name == OUT_OF_DISTRIBUTION:  # its folders do not say what its images show
            return {"confidence": confidences_within(rows, self.opened.mapping)}
        return self.reduce_clean(rows, batch)

    def result(self, predictor: Predictor, bar: Bar) -> NaturalResult:
        clean = Hits(**self.cache.columns(_CLEAN, dict))
        shifted = self.cache.columns(
            _SHIFTED, lambda: _reduce_all(predictor, self.dataset, [self.reduce_shifted], bar)[0]
        )
        if self.opened.name == OUT_OF_DISTRIBUTION:
            scores: Scores = {
                **out_of_distribution_scores(clean.confidence, shifted["confidence"], self.opened.mapping)
            }
        else:
            scores = _accuracies(Hits(**shifted), clean, self.opened.mapping)
        return NaturalResult(
            source=self.opened.source,
            classes=self.opened.mapping.explanation,
            count=len(shifted["confidence"]),
            scores=scores,
            clean_count=len(clean.labels),
            notes=tuple(self._notes(shifted, clean)),
        )

    def _notes(self, shifted: Columns, clean: Hits) -> list[str]:
        """What a reader of the scores must know."""
        classes, count = len(self.classes), len(shifted["confidence"])
        notes = [difference_from_published(self.opened.name, self.classes)]
        if "labels" in shifted and (without_images := classes - len(np.unique(shifted["labels"]))):
            notes.append(f"{without_images} of its {classes} classes have no image, and are chosen among all the same.")
        if without_images := classes - len(np.unique(clean.labels)):
            notes.append(f"{without_images} of its {classes} classes have no clean image to compare with.")
        if unreadable := self.dataset.count - count:
            notes.append(f"{unreadable} of {self.dataset.count} images could not be read and are left out.")
        return [note for note in notes if note]


@dataclass(frozen=True)
class _ReassessedLabels:
    """Other labels for the clean images."""

    opened: NaturalSet
    label_sets: Sequence[LabelSet]
    cache: ResultCache

    def reduce_clean(self, rows: Floats, batch: EvalBatch) -> Columns:
        label_sets = label_sets_of(batch.keys, self.label_sets)
        return vars(label_set_hits(rows, label_sets, self.opened.mapping.columns))

    def result(self, predictor: Predictor, bar: Bar) -> NaturalResult:
        hits = LabelSetHits(**self.cache.columns(_CLEAN, dict))
        scores = label_set_scores(hits, self.opened.mapping.outputs)
        count, skipped = int(scores.pop("count")), int(scores.pop("skipped"))
        return NaturalResult(
            source=self.opened.source,
            classes=self.opened.mapping.explanation,
            count=count,
            scores={**scores},
            skipped=skipped,
        )


def measure(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> dict[str, NaturalResult]:
    """Scores the model on each set in ``evaluation.natural``, beside the clean images of the set's classes.

    ``imagenet-o`` is separated from clean images, ``real`` gives other labels to the clean images, and any other set
    is scored among its own classes. One pass over the clean images serves all sets.

    Args:
        predictor: the model.
        dataset: the clean images.
        settings: the evaluation settings.
        cache: where finished sets are stored.
        reporter: shows progress.

    Returns:
        The results by the name of the set. ``gap`` is the top-1 accuracy on the set minus that on the clean images of
        the same classes; None if there are none.

    Raises:
        DataError: a set is missing, has a class that is unknown to the model, or has a larger fraction of unreadable
            images than the dataset tolerates.
    """
    sets = [
        _prepare(opened, predictor, dataset, settings, cache) for opened in open_natural(settings, predictor.classes)
    ]
    new = [prepared for prepared in sets if not prepared.cache.has_columns(_CLEAN)]
    unfinished = [
        prepared
        for prepared in sets
        if isinstance(prepared, _ShiftedImages) and not prepared.cache.has_columns(_SHIFTED)
    ]
    rows = sum(prepared.dataset.count for prepared in unfinished) + (dataset.count if new else 0)
    with reporter.bar("natural", rows, "images") as bar:
        if new:
            reduced = _reduce_all(predictor, dataset, [prepared.reduce_clean for prepared in new], bar)
            for prepared, columns in zip(new, reduced, strict=True):
                prepared.cache.columns(_CLEAN, partial(dict, columns))
        return {prepared.opened.name: prepared.result(predictor, bar) for prepared in sets}


def _prepare(
    opened: NaturalSet, predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache
) -> _ShiftedImages | _ReassessedLabels:
    def sub(fingerprint: str) -> ResultCache:
        return cache.sub(f"natural/{opened.name}", {"set": fingerprint})

    if isinstance(opened.content, Sequence):
        return _ReassessedLabels(opened, opened.content, sub(opened.fingerprint))
    images = EvalDataset.of_source(
        opened.content,
        predictor.format,
        opened.mapping,
        max_images=settings.max_images,
        max_corrupt_fraction=dataset.max_corrupt_fraction,
    )
    return _ShiftedImages(opened, opened.content.classes or (), images, sub(images.fingerprint))


def _reduce_all(predictor: Predictor, dataset: EvalDataset, reductions: Sequence[Reduce], bar: Bar) -> list[Columns]:
    """The columns of all images for each reduction, in one pass; only a batch of log-probabilities is in memory."""
    parts: list[list[Columns]] = [[] for _ in reductions]
    for batch in dataset.batches(predictor.view, predictor.device):
        rows = predictor.log_probabilities_of_views(batch.views)
        for several, reduce in zip(parts, reductions, strict=True):
            several.append(reduce(rows, batch))
        bar.advance(len(batch.labels))
    return [{name: np.concatenate([part[name] for part in several]) for name in several[0]} for several in parts]


def _accuracies(hits: Hits, clean: Hits, mapping: ClassMapping) -> Scores:
    variant = mapping.variant
    error = standard_error(float(hits.correct.mean()), len(hits.correct))
    scores: Scores = {**subset_scores(hits, mapping), f"top1_{variant}_standard_error": error}
    if not len(clean.labels):
        return {**scores, f"clean_top1_{variant}": None, f"clean_top5_{variant}": None, "gap": None}
    return {
        **scores,
        f"clean_top1_{variant}": float(clean.correct.mean()),
        f"clean_top5_{variant}": float(clean.top5_correct.mean()),
        "gap": float(hits.correct.mean() - clean.correct.mean()),
        "gap_standard_error": math.hypot(error, standard_error(float(clean.correct.mean()), len(clean.correct))),
    }
