"""How steady predictions are along ImageNet-P's sequences, made from the images at hand or read as published."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from noisystudent.errors import SettingsError, nearest_name
from noisystudent.evaluation.baseline import relative_stability
from noisystudent.evaluation.corruptions.tables import PERTURBATIONS, TEST_PERTURBATIONS
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.perturbations.generate import (
    frames_of,
    sequence,
    strengths_for,
)
from noisystudent.evaluation.perturbations.metrics import StabilityMeter, compares_with_first, mean_over
from noisystudent.evaluation.perturbations.published import published_stability
from noisystudent.evaluation.results_cache import ResultCache
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.models.predictor import Predictor
from noisystudent.runtime.progress import Reporter


def measure_perturbations(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> dict[str, Any]:
    """Flip probability and top-5 distance by perturbation, and their means over ImageNet-P's ten if all are there.

    Where ``settings.perturbations_dir`` names a published set, that is measured; labels are not needed. ``relative``
    divides by the measures of ``settings.baseline``, not by AlexNet's: no published file has them.
    """
    if settings.perturbations_dir:
        found, summaries = published_stability(predictor, settings, cache, reporter)
    else:
        found, summaries = _generated_stability(predictor, dataset, settings, cache, reporter)
    whole = set(TEST_PERTURBATIONS) <= found.keys()
    told = {
        **summaries,
        "difficulty": settings.difficulty,
        "perturbations": found,
        "missing": [name for name in TEST_PERTURBATIONS if name not in found],
        "mean_flip_probability": _mean(found, "flip_probability") if whole else None,
        "mean_top5_distance": _mean(found, "top5_distance") if whole else None,
    }
    if settings.baseline:
        told["relative"] = relative_stability(told, settings.baseline)
    return told


def _generated_stability(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Stability by perturbation along sequences that are made from the audience, and what describes them."""
    table = strengths_for(predictor.size) if settings.strengths_for in ("auto", 299) else int(settings.strengths_for)
    sub = cache.sub("perturbations", {"seed": settings.seed, "table": table, "difficulty": settings.difficulty})
    names = perturbations_to_make(settings)
    found: dict[str, dict[str, Any]] = {}
    rows = dataset.count * sum(frames_of(name, table) for name in names)
    with reporter.bar("perturbations", rows, "frames") as bar:
        for name in names:
            found[name] = sub.numbers(name, partial(_stability, predictor, dataset, settings, name, table))
            bar.advance(dataset.count * frames_of(name, table))
    count = next(iter(found.values()))["sequences"]  # one of each image that could be read
    return found, {"source": "generated", "table": table, "count": count}


def perturbations_to_make(settings: EvaluationSettings) -> tuple[str, ...]:
    """The perturbations that the settings name, or ImageNet-P's ten."""
    for name in settings.perturbations:
        if name not in PERTURBATIONS:
            raise SettingsError(
                f"evaluation.perturbations names {name!r}, and there is none of that name."
                f"{nearest_name(name, PERTURBATIONS)} There are {', '.join(PERTURBATIONS)}."
            )
    return settings.perturbations or TEST_PERTURBATIONS


def _mean(found: dict[str, dict[str, Any]], measure: str) -> float:
    return mean_over({name: each[measure] for name, each in found.items()})


def _stability(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, name: str, table: int
) -> dict[str, Any]:
    meter = StabilityMeter(noise=compares_with_first(name), lag=settings.difficulty)
    for batch in dataset.batches(predictor.size, predictor.device):
        frames = sequence(
            batch.views, name, index=batch.index, seed=settings.seed,
            table=table, difficulty=settings.difficulty,
        )  # fmt: skip
        answers = np.stack([predictor.log_probabilities(frame) for frame in frames], axis=1)
        for each in answers:
            meter.add(each)
    return asdict(meter.result())
