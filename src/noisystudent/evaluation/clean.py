"""Results on the images as they are, and the temperatures that other conditions use."""

from __future__ import annotations

from dataclasses import asdict

from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.metrics.accuracy import standard_error
from noisystudent.evaluation.metrics.scores import FIVE
from noisystudent.evaluation.per_image import PerImageResults, Temperatures, evaluate_images
from noisystudent.evaluation.results import CleanResult
from noisystudent.evaluation.results_cache import ResultCache
from noisystudent.models.predictor import Predictor

CLEAN = "clean"  # the name of the cache's entry


def temperatures_of(predictor: Predictor, dataset: EvalDataset, cache: ResultCache) -> Temperatures:
    """The temperatures of the dataset's halves, fitted now unless they are in the cache."""
    return Temperatures(**cache.numbers("temperatures", lambda: asdict(Temperatures.fit(predictor, dataset))))


def clean_results(predictor: Predictor, dataset: EvalDataset, cache: ResultCache) -> PerImageResults:
    """The results of each image as it is, measured now unless they are in the cache."""
    temperatures = temperatures_of(predictor, dataset, cache)
    return cache.results(CLEAN, lambda: evaluate_images(predictor, dataset, temperatures, lambda batch: batch.views))


def clean_scores(results: PerImageResults, classes: int) -> CleanResult:
    """Top-1 accuracy with its standard error over images, and of more than five classes top-5 accuracy."""
    top1 = float(results.correct.mean())
    return CleanResult(
        top1=top1,
        top1_standard_error=standard_error(top1, len(results.correct)),
        top5=float(results.top5_correct.mean()) if classes > FIVE else None,
    )
