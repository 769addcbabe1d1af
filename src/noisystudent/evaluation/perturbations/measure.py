"""Stability of predictions along ImageNet-P's sequences, generated from the images or read from a published set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from noisystudent.errors import SettingsError, nearest_name
from noisystudent.evaluation.baseline import check_comparable, check_complete, read_baseline
from noisystudent.evaluation.corruptions.tables import PERTURBATIONS, TEST_PERTURBATIONS
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.perturbations.generate import (
    frames_of,
    sequence,
    strengths_for,
)
from noisystudent.evaluation.perturbations.metrics import (
    SequenceStability,
    StabilityMeter,
    compares_with_first,
    mean_over,
    mean_rate,
)
from noisystudent.evaluation.perturbations.published import perturbations_to_measure, published_stability
from noisystudent.evaluation.perturbations.results import BaselineStability, PerturbationResult, StabilityRates
from noisystudent.evaluation.results_cache import ResultCache
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.models.predictor import Predictor
from noisystudent.runtime.progress import Reporter


def check(settings: EvaluationSettings, classes: Sequence[str]) -> None:
    """Checks what the measure needs: names of perturbations, the published set, the baseline.

    Args:
        settings: the evaluation settings.
        classes: the class of each output of the model; no labels are needed here.

    Raises:
        SettingsError: a perturbation is unknown.
        DataError: the published set is missing or has none of the perturbations.
        ArtifactError: the file of the baseline is missing or has no perturbations.
    """
    if settings.perturbations_dir:
        perturbations_to_measure(settings)
    else:
        perturbations_to_generate(settings)
    if settings.baseline:
        read_baseline(settings.baseline, "perturbations", lambda result: result.perturbations)


def measure(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> PerturbationResult:
    """Measures flip probability and top-5 distance by perturbation (Hendrycks and Dietterich 2019, section 4.2).

    Args:
        predictor: the model.
        dataset: the clean images. Sequences are generated from them unless ``settings.perturbations_dir`` names a
            published set.
        settings: the evaluation settings.
        cache: where finished perturbations are stored.
        reporter: shows progress.

    Returns:
        The stability by perturbation and its means, also relative to ``settings.baseline`` if there is one.

    Raises:
        SettingsError: a perturbation is unknown.
        DataError: the published set is missing or has none of the perturbations.
        MismatchError: the baseline was measured differently or lacks a perturbation.
    """
    if settings.perturbations_dir:
        result = published_stability(predictor, settings, cache, reporter)
    else:
        result = _generated_stability(predictor, dataset, settings, cache, reporter)
    stability = result.perturbations
    missing = tuple(name for name in TEST_PERTURBATIONS if name not in stability)
    if not missing:
        result = replace(
            result,
            mean_flip_probability=mean_over(_flips(stability)),
            mean_top5_distance=mean_over(_distances(stability)),
        )
    result = replace(result, missing=missing)
    if settings.baseline:
        result = replace(result, relative=relative_stability(result, settings.baseline))
    return result


def _generated_stability(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> PerturbationResult:
    """The stability along generated sequences, without means."""
    table = strengths_for(predictor.size if settings.strengths_for == "auto" else settings.strengths_for)
    sub = cache.sub("perturbations", {"seed": settings.seed, "table": table, "difficulty": settings.difficulty})
    names = perturbations_to_generate(settings)
    stability: dict[str, SequenceStability] = {}
    rows = dataset.count * sum(frames_of(name, table) for name in names)
    with reporter.bar("perturbations", rows, "frames") as bar:
        for name in names:
            numbers = sub.numbers(name, partial(_stability, predictor, dataset, settings, name, table))
            stability[name] = SequenceStability(**numbers)
            bar.advance(dataset.count * frames_of(name, table))
    return PerturbationResult(
        source="generated",
        perturbations=stability,
        difficulty=settings.difficulty,
        table=table,
        count=next(iter(stability.values())).sequences,  # one per readable image
    )


def relative_stability(result: PerturbationResult, baseline: str) -> BaselineStability:
    """Flip probabilities and top-5 distances in percent of a reference model's.

    Args:
        result: the measured stability.
        baseline: the path of the reference model's ``robustness.json``.

    Returns:
        The rates of each perturbation. The means, mFR and mT5D, are over ImageNet-P's ten; None unless all were
        measured.

    Raises:
        MismatchError: the baseline was measured differently or lacks a perturbation.
        DataError: a prediction of the baseline never changes.
    """
    name, reference = read_baseline(baseline, "perturbations", lambda measured: measured.perturbations)
    check_comparable(baseline, "perturbations", result, reference, ("source", "table", "difficulty"))
    ours, theirs = result.perturbations, reference.perturbations
    check_complete(baseline, ours, theirs)
    flips, baseline_flips = _flips(ours), _flips(theirs)
    distances, baseline_distances = _distances(ours), _distances(theirs)
    rates = {
        perturbation: StabilityRates(
            flip_probability=mean_rate(flips, baseline_flips, (perturbation,)),
            top5_distance=mean_rate(distances, baseline_distances, (perturbation,)),
        )
        for perturbation in ours
    }
    return BaselineStability(
        baseline=name,
        mean_flip_rate=None if result.missing else mean_rate(flips, baseline_flips),
        mean_top5_distance=None if result.missing else mean_rate(distances, baseline_distances),
        perturbations=rates,
    )


def _flips(stability: Mapping[str, SequenceStability]) -> dict[str, float]:
    return {name: measured.flip_probability for name, measured in stability.items()}


def _distances(stability: Mapping[str, SequenceStability]) -> dict[str, float]:
    return {name: measured.top5_distance for name, measured in stability.items()}


def perturbations_to_generate(settings: EvaluationSettings) -> tuple[str, ...]:
    """The perturbations that the settings name, or ImageNet-P's ten; raises ``SettingsError`` for an unknown one."""
    for name in settings.perturbations:
        if name not in PERTURBATIONS:
            raise SettingsError(
                f"evaluation.perturbations names {name!r}, which is unknown.{nearest_name(name, PERTURBATIONS)} The "
                f"perturbations are {', '.join(PERTURBATIONS)}."
            )
    return settings.perturbations or TEST_PERTURBATIONS


def _stability(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, name: str, table: int
) -> dict[str, Any]:
    meter = StabilityMeter(noise=compares_with_first(name), lag=settings.difficulty)
    for batch in dataset.batches(predictor.view, predictor.device):
        frames = sequence(
            batch.views, name, index=batch.index, seed=settings.seed,
            table=table, difficulty=settings.difficulty,
        )  # fmt: skip
        by_image = np.stack([predictor.log_probabilities_of_views(frame) for frame in frames], axis=1)
        for log_probabilities in by_image:
            meter.add(log_probabilities)
    return asdict(meter.result())
