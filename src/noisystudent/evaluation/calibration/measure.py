"""Calibration on clean and on corrupted images, before and after temperature scaling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from noisystudent.evaluation.calibration.results import (
    BinSizes,
    CalibrationResult,
    CalibrationScores,
    ConditionCalibration,
)
from noisystudent.evaluation.clean import clean_results, temperatures_of
from noisystudent.evaluation.corruptions.measure import corrupted_results
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.metrics.calibration import BINS, expected_calibration_error, reliability_of
from noisystudent.evaluation.metrics.confidence import (
    BIN_ROWS,
    equal_mass_of,
    response_rate_accuracy_of,
    root_mean_square_calibration_error,
)
from noisystudent.evaluation.per_image import Bools, Confidence, PerImageResults, concatenate_results
from noisystudent.evaluation.results_cache import ResultCache
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.models.predictor import Predictor
from noisystudent.runtime.progress import Reporter


def check(settings: EvaluationSettings, classes: Sequence[str]) -> None:
    """Calibration needs nothing that could be missing."""


def measure(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> CalibrationResult:
    """Measures calibration on clean images and, if corruptions are in the suite, on all corrupted images per severity.

    For temperature scaling, each half of the images gets the temperature that was fitted on the clean images of the
    other half, under corruption too (Ovadia et al. 2019: a temperature fitted on clean images may not fit there).

    Args:
        predictor: the model.
        dataset: the clean images.
        settings: the evaluation settings.
        cache: where finished conditions are stored; corruptions are measured before calibration and only read here.
        reporter: not used, because nothing new is measured.

    Returns:
        The scores under each condition. ``ece`` is over 15 bins of equal width (Guo et al. 2017), ``adaptive_ece`` and
        ``rms_calibration_error`` are over bins of 100 rows.
    """
    clean = clean_results(predictor, dataset, cache)
    temperatures = temperatures_of(predictor, dataset, cache)
    by_severity: dict[int, list[PerImageResults]] = {}
    if "corruptions" in settings.suite:
        for _, severity, results in corrupted_results(predictor, dataset, settings, cache, Reporter(quiet=True)):
            by_severity.setdefault(severity, []).append(results)
    return CalibrationResult(
        temperatures=(temperatures.even, temperatures.odd),
        bins=BinSizes(equal_width=BINS, rows_of_equal_mass=BIN_ROWS),
        corrupted={
            severity: ConditionCalibration(**_condition(concatenate_results(results)))
            for severity, results in sorted(by_severity.items())
        },
        **_condition(clean),
    )


def _condition(results: PerImageResults) -> dict[str, Any]:
    """The fields of ``ConditionCalibration``."""
    return {
        "plain": _scores(results.plain, results.correct),
        "scaled": _scores(results.scaled, results.correct),
        "reliability": tuple(reliability_of(results.plain.top, results.correct)),
        "scaled_reliability": tuple(reliability_of(results.scaled.top, results.correct)),
    }


def _scores(confidence: Confidence, correct: Bools) -> CalibrationScores:
    adaptive = equal_mass_of(confidence.top, correct)
    return CalibrationScores(
        ece=expected_calibration_error(reliability_of(confidence.top, correct)),
        adaptive_ece=expected_calibration_error(adaptive),
        rms_calibration_error=root_mean_square_calibration_error(adaptive),
        aurra=response_rate_accuracy_of(confidence.top, correct),
        nll=float(confidence.loss.mean(dtype=float)),
        brier=float(confidence.distance.mean(dtype=float)),
    )
