"""A suite of measures on one subject and one audience."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from noisystudent.artifacts.folder import write_json
from noisystudent.evaluation.adversarial.measure import measure_attacks
from noisystudent.evaluation.calibration.measure import measure_calibration
from noisystudent.evaluation.clean import clean_results, describe_clean
from noisystudent.evaluation.corruptions.measure import measure_corruptions
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.natural.measure import measure_natural
from noisystudent.evaluation.perturbations.measure import measure_perturbations
from noisystudent.evaluation.preflight import check_suite
from noisystudent.evaluation.results_cache import ResultCache
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.models.predictor import Predictor
from noisystudent.runtime.progress import Reporter

ROBUSTNESS = "robustness.json"
_MEASURES = {
    "corruptions": measure_corruptions,
    "perturbations": measure_perturbations,
    "natural": measure_natural,
    "attacks": measure_attacks,
    "calibration": measure_calibration,
}


def measure(
    predictor: Predictor,
    dataset: EvalDataset,
    settings: EvaluationSettings,
    folder: Path,
    reporter: Reporter,
    *,
    renewing: bool = False,
) -> dict[str, Any]:
    """All measures that ``settings.suite`` names, in the folder, where finished pieces are taken as they are.

    Pieces from another subject, other images or settings are set aside when ``renewing``, and else refused. What the
    settings name and is not there is said first (see ``check_suite``).

    Returns what ``robustness.json`` there holds: ``clean`` accuracy on the same images, which is measured in any
    case, and each measure by its name; ``unreadable`` is how many images were left out, if any.
    """
    check_suite(settings, predictor.classes)  # before hours of measures that are taken earlier
    inputs = {"subject": predictor.fingerprint, "audience": dataset.fingerprint, "precision": predictor.precision}
    cache = ResultCache.open(folder, inputs, renewing=renewing)
    clean = clean_results(predictor, dataset, cache)
    told: dict[str, Any] = {
        "subject": predictor.name,
        "source": dataset.name,
        "count": len(clean.correct),
        "clean": describe_clean(clean),
    }
    if dataset.found and not dataset.found.plain:
        told["classes"] = dataset.found.explanation
    if unreadable := dataset.count - len(clean.correct):
        told["unreadable"] = unreadable
    for name, take in _MEASURES.items():
        if name in settings.suite:
            told[name] = take(predictor, dataset, settings, cache, reporter)
    write_json(folder / ROBUSTNESS, told)
    return told
