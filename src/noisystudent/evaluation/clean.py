"""Images as they are: how each fares, and the temperatures that its confidence needs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.per_image import PerImageResults, Temperatures, evaluate_images
from noisystudent.evaluation.results_cache import ResultCache
from noisystudent.models.predictor import Predictor

CLEAN = "clean"  # the name of the piece that holds the outcomes without any change


def temperatures_of(predictor: Predictor, dataset: EvalDataset, cache: ResultCache) -> Temperatures:
    """The temperatures of the audience's halves, fitted now unless they are there."""
    return Temperatures(**cache.numbers("temperatures", lambda: asdict(Temperatures.fitted(predictor, dataset))))


def clean_results(predictor: Predictor, dataset: EvalDataset, cache: ResultCache) -> PerImageResults:
    """How each image fares as it is."""
    temperatures = temperatures_of(predictor, dataset, cache)
    return cache.results(CLEAN, lambda: evaluate_images(predictor, dataset, temperatures, lambda batch: batch.views))


def describe_clean(found: PerImageResults) -> dict[str, Any]:
    """Top-1 and top-5 accuracy, and the standard error of the first over images."""
    top1 = float(found.correct.mean())
    return {
        "top1": top1,
        "top1_standard_error": math.sqrt(top1 * (1 - top1) / len(found.correct)),
        "top5": float(found.top5_correct.mean()),
    }
