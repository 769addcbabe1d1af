"""Errors on published sets of corrupted images: ImageNet-C, Tiny-ImageNet-C, CIFAR-10-C and CIFAR-100-C."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from noisystudent.data.decode import read_header
from noisystudent.data.source import Source
from noisystudent.errors import DataError, nearest_name
from noisystudent.evaluation.class_mapping import ClassMapping, Rule, map_classes
from noisystudent.evaluation.clean import clean_results, temperatures_of
from noisystudent.evaluation.corruptions.metrics import alexnet_errors, corruption_errors
from noisystudent.evaluation.corruptions.read import CorruptedSet
from noisystudent.evaluation.corruptions.results import AlexNetResult, CorruptionResult
from noisystudent.evaluation.corruptions.tables import CORRUPTIONS, TEST_CORRUPTIONS
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.per_image import PerImageResults, evaluate_images
from noisystudent.evaluation.results_cache import ResultCache
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.models.imagenet import imagenet_synsets
from noisystudent.models.predictor import Predictor
from noisystudent.runtime.progress import Reporter

_IMAGENET_EDGE = 224  # AlexNet's errors are for images of this size; smaller versions of the set exist


@dataclass(frozen=True)
class Condition:
    """One corruption at one severity of a published set.

    Attributes:
        corruption: the name of the corruption.
        severity: its severity, 1 to 5.
        dataset: the images, with their classes mapped to the model's outputs.
        missing_classes: the model's classes without images.
        classes_by: the rule that matched the other classes, see ``class_mapping.map_classes``.
        edge: the shorter edge of the first image, in pixels.
        imagenet: whether the classes are ImageNet's 1,000.
    """

    corruption: str
    severity: int
    dataset: EvalDataset
    missing_classes: tuple[str, ...]
    classes_by: Rule
    edge: int
    imagenet: bool

    @property
    def name(self) -> str:
        """The name in file names and messages, such as ``fog-3``."""
        return f"{self.corruption}-{self.severity}"


def measure_published_corruptions(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> CorruptionResult:
    """Measures the errors on the published set that ``settings.corruptions_dir`` names.

    Args:
        predictor: the model to evaluate.
        dataset: the clean images, for temperatures and the clean error of the relative mCE.
        settings: the evaluation settings.
        cache: where finished conditions are stored.
        reporter: shows progress.

    Returns:
        The errors by corruption and severity and their means. ``mean`` is None if ``missing`` names missing conditions
        or ``missing_classes`` names classes without images. ``unreadable`` counts the unreadable images per condition.
        ``alexnet`` holds mCE and relative mCE if the set is all of ImageNet-C, else None.

    Raises:
        DataError: the folder holds no such set, or the set has classes that are unknown to the model.
    """
    corrupted, _ = conditions_to_measure(settings, predictor.classes)
    errors: dict[str, dict[int, float]] = {}
    counts: dict[str, dict[int, int]] = {}
    unreadable: dict[str, int] = {}
    conditions = []
    for condition, results in published_results(predictor, dataset, settings, cache, reporter):
        errors.setdefault(condition.corruption, {})[condition.severity] = 1 - float(results.correct.mean())
        counts.setdefault(condition.corruption, {})[condition.severity] = len(results.correct)
        if unread := condition.dataset.count - len(results.correct):
            unreadable[condition.name] = unread
        conditions.append(condition)
    distinct_counts = {count for by_severity in counts.values() for count in by_severity.values()}
    missing_classes = {
        condition.name: condition.missing_classes for condition in conditions if condition.missing_classes
    }
    averages = corruption_errors(errors)
    if missing_classes:
        averages = replace(averages, mean=None)
    is_imagenet_c = averages.mean is not None and all(
        condition.imagenet and condition.edge >= _IMAGENET_EDGE for condition in conditions
    )
    return CorruptionResult(
        **asdict(averages),
        source="published",
        errors=errors,
        count=distinct_counts.pop() if len(distinct_counts) == 1 else None,
        folder=settings.corruptions_dir,
        edge=conditions[0].edge,
        ignored=corrupted.ignored,
        counts=counts,
        unreadable=unreadable,
        classes_by="position" if corrupted.arrays else conditions[0].classes_by,
        missing_classes=_merge_equal(missing_classes, len(conditions)),
        alexnet=_relative_to_alexnet(errors, predictor, dataset, cache) if is_imagenet_c else None,
    )


def published_results(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> Iterator[tuple[Condition, PerImageResults]]:
    """Evaluates each image of the published set, one condition at a time.

    A cached condition whose images have changed since, by their fingerprint, is refused or measured again (see
    ``ResultCache.columns``).

    Args:
        predictor: the model to evaluate.
        dataset: the clean images, which the temperatures are fitted on.
        settings: the evaluation settings.
        cache: where finished conditions are stored.
        reporter: shows progress.

    Yields:
        Each condition with the results of its images.
    """
    corrupted, to_measure = conditions_to_measure(settings, predictor.classes)
    temperatures = temperatures_of(predictor, dataset, cache)
    sub = cache.sub("corruptions", {"source": "published"})
    with reporter.bar("corruptions", len(to_measure), "conditions") as bar:
        for corruption, severity in to_measure:
            source = corrupted.source(corruption, severity)
            condition = _condition(corruption, severity, source, predictor, dataset, settings)
            measure = partial(evaluate_images, predictor, condition.dataset, temperatures, lambda batch: batch.views)
            results = sub.results(condition.name, measure, images=condition.dataset.fingerprint)
            bar.advance(1)
            yield condition, results


def conditions_to_measure(
    settings: EvaluationSettings, classes: Sequence[str]
) -> tuple[CorruptedSet, list[tuple[str, int]]]:
    """Opens the published set and chooses the conditions to measure: the named corruptions, or those of the 15 on disk.

    Args:
        settings: the evaluation settings.
        classes: the class of each model output.

    Returns:
        The set, and the corruption and severity of each condition.

    Raises:
        DataError: the folder holds no such set, a named corruption is missing, or none of the severities exists.
    """
    corrupted = CorruptedSet(settings.corruptions_dir, known=CORRUPTIONS, model_classes=classes)
    available = corrupted.severities
    for name in settings.corruptions:
        if name not in available:
            raise DataError(
                f"evaluation.corruptions names {name!r}, which is not in {corrupted.name!r}."
                f"{nearest_name(name, available)} It has {', '.join(available)}."
            )
    names = settings.corruptions or [name for name in TEST_CORRUPTIONS if name in available]
    to_measure = [(name, severity) for name in names for severity in settings.severities if severity in available[name]]
    if not to_measure:
        raise DataError(
            f"{corrupted.name!r} has none of the conditions to measure; it has "
            f"{'; '.join(map(_describe, available, available.values()))}. A severity is a folder named 1 to 5 inside "
            "that of its corruption. Check evaluation.corruptions and evaluation.severities."
        )
    return corrupted, to_measure


def _describe(name: str, severities: Sequence[int]) -> str:
    return f"{name} at severity {', '.join(map(str, severities))}" if severities else f"{name} without severities"


def _condition(
    corruption: str,
    severity: int,
    source: Source,
    predictor: Predictor,
    dataset: EvalDataset,
    settings: EvaluationSettings,
) -> Condition:
    """One condition; its images are resized to the model's size without the margin that other images lose."""
    assert source.classes is not None
    try:
        mapping = map_classes(source.classes, predictor.classes)
    except DataError as error:
        raise DataError(f"evaluation.corruptions_dir, {corruption} at severity {severity}: {error}") from error
    present = set(mapping.columns.tolist())
    images = EvalDataset.of_source(
        source,
        replace(predictor.format, whole=True),
        mapping,
        max_images=settings.max_images,
        max_corrupt_fraction=dataset.max_corrupt_fraction,
    )
    missing = tuple(name for output, name in enumerate(predictor.classes) if output not in present)
    return Condition(corruption, severity, images, missing, mapping.rule, _edge(source), _is_imagenet(source, mapping))


def _edge(source: Source) -> int:
    """The shorter edge of the first readable image, 0 if the first shard has none."""
    for record in source.read(0):
        try:
            return min(read_header(record.image)[:2])
        except DataError:
            continue
    return 0


def _is_imagenet(source: Source, mapping: ClassMapping) -> bool:
    return mapping.rule == "number" or set(source.classes or ()) == set(imagenet_synsets())


def _merge_equal(
    missing: Mapping[str, tuple[str, ...]], conditions: int
) -> dict[str, tuple[str, ...]] | tuple[str, ...]:
    """The missing classes by condition, or only once if all conditions miss the same classes."""
    if not missing:
        return ()
    distinct = set(missing.values())
    return distinct.pop() if len(missing) == conditions and len(distinct) == 1 else dict(missing)


def _relative_to_alexnet(
    errors: Mapping[str, Mapping[int, float]], predictor: Predictor, dataset: EvalDataset, cache: ResultCache
) -> AlexNetResult:
    clean_error = 1 - float(clean_results(predictor, dataset, cache).correct.mean())
    relative = alexnet_errors(errors, clean_error)
    return AlexNetResult(**asdict(relative), clean_error=clean_error, clean_source=dataset.name)
