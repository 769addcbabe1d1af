"""Errors under ImageNet-C's corruptions, made from the images at hand or read as they are published."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from noisystudent.errors import SettingsError, nearest_name
from noisystudent.evaluation.baseline import relative_errors
from noisystudent.evaluation.clean import temperatures_of
from noisystudent.evaluation.corruptions.filters.frost import textures_folder
from noisystudent.evaluation.corruptions.generate import available_corruptions, corrupt
from noisystudent.evaluation.corruptions.metrics import described_errors
from noisystudent.evaluation.corruptions.published import measure_published_corruptions, published_results
from noisystudent.evaluation.corruptions.tables import CORRUPTIONS, TEST_CORRUPTIONS, table_for
from noisystudent.evaluation.eval_dataset import EvalBatch, EvalDataset
from noisystudent.evaluation.per_image import PerImageResults, evaluate_images
from noisystudent.evaluation.results_cache import ResultCache
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.models.predictor import Predictor
from noisystudent.runtime.progress import Reporter

Corrupted = Iterator[tuple[str, int, PerImageResults]]  # corruption, severity, and how each image fared


def measure_corruptions(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> dict[str, Any]:
    """Top-1 errors by corruption and severity, their means, and the calibration error at each severity.

    ``mean`` is over ImageNet-C's 15 corruptions at all severities, or None where ``missing`` names what is not there;
    it is not divided by AlexNet's errors, which were measured on ImageNet alone, but ``relative_to_baseline`` by those
    of ``settings.baseline``. Where ``settings.corruptions_dir`` names a published set, that is measured (see
    ``measure_published_corruptions``). Raises ``SettingsError`` for a corruption that does not exist, and ``DataError``
    for frost that is named without textures.
    """
    take = measure_published_corruptions if settings.corruptions_dir else _measure_generated
    told = take(predictor, dataset, settings, cache, reporter)
    if settings.baseline:
        told["relative_to_baseline"] = relative_errors(told, settings.baseline)
    return told


def _measure_generated(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> dict[str, Any]:
    errors: dict[str, dict[int, float]] = {}
    for name, severity, results in corrupted_results(predictor, dataset, settings, cache, reporter):
        errors.setdefault(name, {})[severity] = 1 - float(results.correct.mean())
        count = len(results.correct)
    return {
        "source": "generated",
        "table": _table(predictor, settings),
        "count": count,
        **described_errors(errors),
    }


def corrupted_results(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> Corrupted:
    """How each image fares under each corruption at each severity, one condition at a time."""
    if settings.corruptions_dir:
        for condition, results in published_results(predictor, dataset, settings, cache, reporter):
            yield condition.corruption, condition.severity, results
    else:
        yield from _generated_results(predictor, dataset, settings, cache, reporter)


def _generated_results(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> Corrupted:
    names, table = corruptions_to_make(settings), _table(predictor, settings)
    temperatures = temperatures_of(predictor, dataset, cache)
    sub = cache.sub("corruptions", {"seed": settings.seed, "table": table, "frost_textures": settings.frost_textures})
    rows = dataset.count * len(names) * len(settings.severities)
    with reporter.bar("corruptions", rows, "images") as bar:
        for name, severity in itertools.product(names, settings.severities):
            change = partial(_corrupted, name=name, severity=severity, settings=settings, table=table)
            measure = partial(evaluate_images, predictor, dataset, temperatures, change)
            results = sub.results(f"{name}-{severity}", measure)
            bar.advance(len(results.correct))
            yield name, severity, results


def _table(predictor: Predictor, settings: EvaluationSettings) -> int:
    """The image size in pixels whose published strengths are taken."""
    return table_for(predictor.size) if settings.strengths_for == "auto" else settings.strengths_for


def corruptions_to_make(settings: EvaluationSettings) -> tuple[str, ...]:
    """The corruptions that the settings name, or those of the 15 that can be made here.

    Raises ``SettingsError`` for a name that there is not, and ``DataError`` for frost, or a folder of its photographs,
    that is named where there are none.
    """
    for name in settings.corruptions:
        if name not in CORRUPTIONS:
            raise SettingsError(
                f"evaluation.corruptions names {name!r}, and there is none of that name."
                f"{nearest_name(name, CORRUPTIONS)} There are {', '.join(CORRUPTIONS)}."
            )
    if settings.frost_textures or "frost" in settings.corruptions:
        textures_folder(_textures(settings))
    makeable = available_corruptions(_textures(settings))
    return settings.corruptions or tuple(name for name in TEST_CORRUPTIONS if name in makeable)


def _textures(settings: EvaluationSettings) -> Path | None:
    return Path(settings.frost_textures) if settings.frost_textures else None


def _corrupted(batch: EvalBatch, *, name: str, severity: int, settings: EvaluationSettings, table: int) -> Tensor:
    return corrupt(
        batch.views, name, severity, index=batch.index, seed=settings.seed, table=table,
        frost_textures=_textures(settings),
    )  # fmt: skip
