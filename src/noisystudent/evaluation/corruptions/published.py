"""Errors on images that were corrupted already: ImageNet-C, Tiny-ImageNet-C, CIFAR-10-C and CIFAR-100-C."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from noisystudent.data.decode import read_header
from noisystudent.data.source import Source
from noisystudent.errors import DataError, nearest_name
from noisystudent.evaluation.clean import clean_results, temperatures_of
from noisystudent.evaluation.corruptions.metrics import alexnet_errors, described_errors
from noisystudent.evaluation.corruptions.read import CorruptedSet
from noisystudent.evaluation.corruptions.tables import CORRUPTIONS, TEST_CORRUPTIONS
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.natural.metrics import ClassMapping, map_classes
from noisystudent.evaluation.per_image import PerImageResults, evaluate_images
from noisystudent.evaluation.results_cache import ResultCache
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.models.imagenet import imagenet_synsets
from noisystudent.models.predictor import Predictor
from noisystudent.runtime.progress import Reporter

_IMAGENET_EDGE = 224  # AlexNet's errors are those on images of this size; smaller versions of the set exist


@dataclass(frozen=True)
class Condition:
    """One corruption at one severity as it lies on the disk.

    ``missing_classes`` are the model's that it has no images of, ``classes_by`` how the others were found,
    ``edge`` the shorter one of its first image. ``imagenet``: its classes are ImageNet's 1,000.
    """

    corruption: str
    severity: int
    dataset: EvalDataset
    missing_classes: tuple[str, ...]
    classes_by: str
    edge: int
    imagenet: bool

    @property
    def name(self) -> str:
        """Such as ``fog-3``."""
        return f"{self.corruption}-{self.severity}"


def measure_published_corruptions(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> dict[str, Any]:
    """Top-1 errors by corruption and severity and their means, of the set that ``settings.corruptions_dir`` names.

    ``mean`` is None where ``missing`` names what is not there, or ``missing_classes`` what conditions have no images
    of; ``unreadable`` counts the images of a condition that were left out. ``alexnet`` has the mean corruption errors
    where the set is all of ImageNet-C; the clean error that the relative one takes off is that on the ``dataset``.
    Raises ``DataError`` for a folder that holds no such set, and for classes that the model has not.
    """
    corrupted, _ = conditions_to_measure(settings, predictor.classes)
    errors: dict[str, dict[int, float]] = {}
    counts: dict[str, dict[str, int]] = {}
    unreadable: dict[str, int] = {}
    conditions = []
    for condition, results in published_results(predictor, dataset, settings, cache, reporter):
        errors.setdefault(condition.corruption, {})[condition.severity] = 1 - float(results.correct.mean())
        counts.setdefault(condition.corruption, {})[str(condition.severity)] = len(results.correct)
        if without := condition.dataset.count - len(results.correct):
            unreadable[condition.name] = without
        conditions.append(condition)
    different = {count for by in counts.values() for count in by.values()}
    missing_classes = {each.name: list(each.missing_classes) for each in conditions if each.missing_classes}
    told = {
        "source": "published",
        "folder": settings.corruptions_dir,
        "table": None,
        "edge": conditions[0].edge,
        "ignored": list(corrupted.ignored),
        "count": different.pop() if len(different) == 1 else None,
        "counts": counts,
        "unreadable": unreadable,
        "classes_by": "place" if corrupted.arrays else conditions[0].classes_by,
        "missing_classes": _shortest(missing_classes, len(conditions)),
        **described_errors(errors),
    }
    if missing_classes:
        told["mean"] = None
    whole = told["mean"] is not None and all(each.imagenet and each.edge >= _IMAGENET_EDGE for each in conditions)
    return {**told, "alexnet": _beside_alexnet(errors, predictor, dataset, cache) if whole else None}


def published_results(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> Iterator[tuple[Condition, PerImageResults]]:
    """How each image of the published set fares, one condition at a time; ``dataset`` is the clean one.

    What is kept of a condition whose images have changed since, by their fingerprint, is refused or renewed (see
    ``ResultCache.columns``).
    """
    corrupted, wanted = conditions_to_measure(settings, predictor.classes)
    temperatures = temperatures_of(predictor, dataset, cache)
    sub = cache.sub("corruptions", {"source": "published"})
    with reporter.bar("corruptions", len(wanted), "conditions") as bar:
        for corruption, severity in wanted:
            source = corrupted.source(corruption, severity)
            condition = _condition(corruption, severity, source, predictor, dataset, settings)
            measure = partial(evaluate_images, predictor, condition.dataset, temperatures, lambda batch: batch.views)
            results = sub.results(condition.name, measure, images=condition.dataset.fingerprint)
            bar.advance(1)
            yield condition, results


def conditions_to_measure(
    settings: EvaluationSettings, classes: Sequence[str]
) -> tuple[CorruptedSet, list[tuple[str, int]]]:
    """The published set, for a model of these classes, and what is measured of it, as corruption and severity.

    These are the named corruptions, or those of the 15 that are there. Raises ``DataError`` for a folder that holds no
    such set, and where a named corruption or all of the severities are not there.
    """
    corrupted = CorruptedSet(settings.corruptions_dir, known=CORRUPTIONS, model_classes=classes)
    there = corrupted.severities
    for name in settings.corruptions:
        if name not in there:
            raise DataError(
                f"evaluation.corruptions names {name!r}, which is not in {corrupted.name!r}."
                f"{nearest_name(name, there)} There are {', '.join(there)}."
            )
    names = settings.corruptions or [name for name in TEST_CORRUPTIONS if name in there]
    wanted = [(name, severity) for name in names for severity in settings.severities if severity in there[name]]
    if not wanted:
        raise DataError(
            f"{corrupted.name!r} has none of the conditions to measure; it has "
            f"{'; '.join(map(_described, there, there.values()))}. A severity is a folder named 1 to 5 in that of its "
            "corruption; see evaluation.corruptions and evaluation.severities for what is measured."
        )
    return corrupted, wanted


def _described(name: str, severities: Sequence[int]) -> str:
    return f"{name} at severity {', '.join(map(str, severities))}" if severities else f"{name} without severities"


def _condition(
    corruption: str,
    severity: int,
    source: Source,
    predictor: Predictor,
    dataset: EvalDataset,
    settings: EvaluationSettings,
) -> Condition:
    """A condition's images, shown whole: a square one is only resized to the model's size where it has another."""
    assert source.classes is not None
    try:
        found = map_classes(source.classes, predictor.classes)
    except DataError as error:
        raise DataError(f"evaluation.corruptions_dir, {corruption} at severity {severity}: {error}") from error
    present = set(found.columns.tolist())
    shown = EvalDataset.of_source(
        source,
        replace(predictor.format, whole=True),
        found,
        images=settings.max_images,
        max_corrupt_fraction=dataset.max_corrupt_fraction,
    )
    lacking = tuple(name for place, name in enumerate(predictor.classes) if place not in present)
    return Condition(corruption, severity, shown, lacking, found.rule, _edge(source), _is_imagenet(source, found))


def _edge(source: Source) -> int:
    """The shorter edge of the first image that can be read, 0 where none of the first shard can."""
    for record in source.read(0):
        try:
            return min(read_header(record.image)[:2])
        except DataError:
            continue
    return 0


def _is_imagenet(source: Source, found: ClassMapping) -> bool:
    return found.rule == "number" or set(source.classes or ()) == set(imagenet_synsets())


def _shortest(missing: Mapping[str, list[str]], conditions: int) -> dict[str, list[str]] | list[str]:
    """The missing classes by condition, or once where they are the same everywhere."""
    lists: Sequence[list[str]] = list(missing.values())
    if not lists:
        return []
    return lists[0] if len(lists) == conditions and all(each == lists[0] for each in lists) else dict(missing)


def _beside_alexnet(
    errors: Mapping[str, Mapping[int, float]], predictor: Predictor, dataset: EvalDataset, cache: ResultCache
) -> dict[str, Any]:
    clean_error = 1 - float(clean_results(predictor, dataset, cache).correct.mean())
    return {**asdict(alexnet_errors(errors, clean_error)), "clean_error": clean_error, "clean_source": dataset.name}
