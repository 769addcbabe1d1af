"""Errors under ImageNet-C's corruptions, on generated images or on a published set."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from noisystudent.errors import SettingsError, nearest_name
from noisystudent.evaluation.baseline import check_comparable, check_complete, read_baseline
from noisystudent.evaluation.clean import temperatures_of
from noisystudent.evaluation.corruptions.filters.frost import textures_folder
from noisystudent.evaluation.corruptions.generate import available_corruptions, corrupt
from noisystudent.evaluation.corruptions.metrics import corruption_errors, error_rates
from noisystudent.evaluation.corruptions.published import (
    conditions_to_measure,
    measure_published_corruptions,
    published_results,
)
from noisystudent.evaluation.corruptions.results import BaselineErrors, CorruptionResult
from noisystudent.evaluation.corruptions.tables import CORRUPTIONS, TEST_CORRUPTIONS, table_for
from noisystudent.evaluation.eval_dataset import EvalBatch, EvalDataset
from noisystudent.evaluation.per_image import PerImageResults, evaluate_images
from noisystudent.evaluation.results_cache import ResultCache
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.models.predictor import Predictor
from noisystudent.runtime.progress import Reporter

ConditionResults = Iterator[tuple[str, int, PerImageResults]]  # corruption, severity, and the results of its images


def check(settings: EvaluationSettings, classes: Sequence[str]) -> None:
    """Checks what the measure needs: names of corruptions, the published set, photographs of frost, the baseline.

    Args:
        settings: the evaluation settings.
        classes: the class of each output of the model.

    Raises:
        SettingsError: a corruption is unknown.
        DataError: the published set or the photographs of frost are missing or do not fit.
        ArtifactError: the file of the baseline is missing or has no corruptions.
    """
    if settings.corruptions_dir:
        conditions_to_measure(settings, classes)
    else:
        corruptions_to_generate(settings)
    if settings.baseline:
        read_baseline(settings.baseline, "corruptions", lambda result: result.corruptions)


def measure(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> CorruptionResult:
    """Measures top-1 errors by corruption and severity (Hendrycks and Dietterich 2019, section 4.1).

    Args:
        predictor: the model.
        dataset: the clean images. They are corrupted here unless ``settings.corruptions_dir`` names a published set.
        settings: the evaluation settings.
        cache: where finished conditions are stored.
        reporter: shows progress.

    Returns:
        The errors and their means, also relative to ``settings.baseline`` if there is one.

    Raises:
        SettingsError: a corruption is unknown.
        DataError: the published set or the photographs of frost are missing or do not fit.
        MismatchError: the baseline was measured differently or lacks a corruption.
    """
    measure_source = measure_published_corruptions if settings.corruptions_dir else _measure_generated
    result = measure_source(predictor, dataset, settings, cache, reporter)
    if settings.baseline:
        result = replace(result, relative_to_baseline=relative_errors(result, settings.baseline))
    return result


def _measure_generated(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> CorruptionResult:
    errors: dict[str, dict[int, float]] = {}
    for name, severity, results in corrupted_results(predictor, dataset, settings, cache, reporter):
        errors.setdefault(name, {})[severity] = 1 - float(results.correct.mean())
        count = len(results.correct)
    return CorruptionResult(
        source="generated",
        table=_table(predictor, settings),
        count=count,
        errors=errors,
        **asdict(corruption_errors(errors)),
    )


def relative_errors(result: CorruptionResult, baseline: str) -> BaselineErrors:
    """Errors over all severities in percent of a reference model's.

    Args:
        result: the measured errors.
        baseline: the path of the reference model's ``robustness.json``.

    Returns:
        The error of each complete corruption, and the mean over ImageNet-C's 15 if there is one.

    Raises:
        MismatchError: the baseline was measured differently or lacks a corruption.
        DataError: the baseline makes no errors under a corruption.
    """
    name, reference = read_baseline(baseline, "corruptions", lambda measured: measured.corruptions)
    check_comparable(baseline, "corruptions", result, reference, ("source", "table", "missing_classes"))
    check_complete(baseline, result.per_corruption, reference.per_corruption)
    rates = error_rates(result.per_corruption, reference.per_corruption)
    mean = None if result.mean is None else sum(rates[test] for test in TEST_CORRUPTIONS) / len(TEST_CORRUPTIONS)
    return BaselineErrors(baseline=name, mean_corruption_error=mean, corruption_errors=rates)


def corrupted_results(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> ConditionResults:
    """Evaluates each image under each corruption at each severity, one condition at a time.

    Args:
        predictor: the model.
        dataset: the clean images.
        settings: the evaluation settings.
        cache: where finished conditions are stored.
        reporter: shows progress.

    Yields:
        The corruption, the severity and the per-image results of each condition.
    """
    if settings.corruptions_dir:
        for condition, results in published_results(predictor, dataset, settings, cache, reporter):
            yield condition.corruption, condition.severity, results
    else:
        yield from _generated_results(predictor, dataset, settings, cache, reporter)


def _generated_results(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> ConditionResults:
    names, table = corruptions_to_generate(settings), _table(predictor, settings)
    temperatures = temperatures_of(predictor, dataset, cache)
    sub = cache.sub("corruptions", {"seed": settings.seed, "table": table, "frost_textures": settings.frost_textures})
    rows = dataset.count * len(names) * len(settings.severities)
    with reporter.bar("corruptions", rows, "images") as bar:
        for name, severity in itertools.product(names, settings.severities):
            change = partial(_corrupted, name=name, severity=severity, settings=settings, table=table)
            evaluate = partial(evaluate_images, predictor, dataset, temperatures, change)
            results = sub.results(f"{name}-{severity}", evaluate)
            bar.advance(len(results.correct))
            yield name, severity, results


def _table(predictor: Predictor, settings: EvaluationSettings) -> int:
    """The image size in pixels whose published strengths are used."""
    return table_for(predictor.size) if settings.strengths_for == "auto" else settings.strengths_for


def corruptions_to_generate(settings: EvaluationSettings) -> tuple[str, ...]:
    """The corruptions that the settings name, or those of ImageNet-C's 15 that can be generated here.

    Args:
        settings: the evaluation settings.

    Returns:
        The names of the corruptions.

    Raises:
        SettingsError: a corruption is unknown.
        DataError: frost, or a folder of its photographs, is named, but there are no photographs.
    """
    for name in settings.corruptions:
        if name not in CORRUPTIONS:
            raise SettingsError(
                f"evaluation.corruptions names {name!r}, which is unknown.{nearest_name(name, CORRUPTIONS)} The "
                f"corruptions are {', '.join(CORRUPTIONS)}."
            )
    if settings.frost_textures or "frost" in settings.corruptions:
        textures_folder(_textures(settings))
    available = available_corruptions(_textures(settings))
    return settings.corruptions or tuple(name for name in TEST_CORRUPTIONS if name in available)


def _textures(settings: EvaluationSettings) -> Path | None:
    return Path(settings.frost_textures) if settings.frost_textures else None


def _corrupted(batch: EvalBatch, *, name: str, severity: int, settings: EvaluationSettings, table: int) -> Tensor:
    return corrupt(
        batch.views, name, severity, index=batch.index, seed=settings.seed, table=table,
        frost_textures=_textures(settings),
    )  # fmt: skip
