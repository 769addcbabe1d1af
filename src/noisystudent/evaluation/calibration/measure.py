"""How far confidence can be believed, on clean images and on corrupted ones, before and after temperature scaling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from noisystudent.evaluation.clean import clean_results, temperatures_of
from noisystudent.evaluation.corruptions.measure import corrupted_results
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.metrics.calibration import BINS, CalibrationBin, expected_calibration_error, reliability_of
from noisystudent.evaluation.metrics.confidence import (
    BIN_ROWS,
    equal_mass_of,
    response_rate_accuracy_of,
    root_mean_square_calibration_error,
)
from noisystudent.evaluation.per_image import Bools, Confidence, PerImageResults, concatenated
from noisystudent.evaluation.results_cache import ResultCache
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.models.predictor import Predictor
from noisystudent.runtime.progress import Reporter


def measure_calibration(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> dict[str, Any]:
    """Calibration of clean images and, where corruptions are in the suite, of each severity's, all together.

    ``plain`` is the subject as it is, ``scaled`` after temperature scaling: each half of the images at the
    temperature that was fitted on clean ones of the other half, under corruption too (Ovadia et al. 2019: what was
    fitted on clean images need not hold there). ``ece`` is over 15 bins of equal width, ``adaptive_ece`` and
    ``rms_calibration_error`` over bins of 100 rows.
    """
    clean = clean_results(predictor, dataset, cache)
    temperatures = temperatures_of(predictor, dataset, cache)
    severities: dict[int, list[PerImageResults]] = {}
    if "corruptions" in settings.suite:
        # The suite has measured these before: they are only read.
        for _, severity, results in corrupted_results(predictor, dataset, settings, cache, Reporter(quiet=True)):
            severities.setdefault(severity, []).append(results)
    return {
        "bins": {"equal_width": BINS, "rows_of_equal_mass": BIN_ROWS},
        "temperatures": [temperatures.even, temperatures.odd],
        **_calibration(clean),
        "corrupted": {
            str(severity): _calibration(concatenated(found)) for severity, found in sorted(severities.items())
        },
    }


def _calibration(found: PerImageResults) -> Mapping[str, Any]:
    return {
        "plain": _scores(found.plain, found.correct),
        "scaled": _scores(found.scaled, found.correct),
        "reliability": [asdict(each) for each in _table(found.plain, found.correct)],
        "scaled_reliability": [asdict(each) for each in _table(found.scaled, found.correct)],
    }


def _table(confidence: Confidence, correct: Bools) -> list[CalibrationBin]:
    return reliability_of(confidence.top, correct)


def _scores(confidence: Confidence, correct: Bools) -> dict[str, float]:
    adaptive = equal_mass_of(confidence.top, correct)
    return {
        "ece": expected_calibration_error(_table(confidence, correct)),
        "adaptive_ece": expected_calibration_error(adaptive),
        "rms_calibration_error": root_mean_square_calibration_error(adaptive),
        "aurra": response_rate_accuracy_of(confidence.top, correct),
        "nll": float(confidence.loss.mean(dtype=float)),
        "brier": float(confidence.distance.mean(dtype=float)),
    }
