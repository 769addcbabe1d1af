"""The suite of robustness measures of one model on one dataset."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from noisystudent.artifacts.typed_json import write_result
from noisystudent.evaluation.baseline import check_baseline
from noisystudent.evaluation.clean import clean_results, clean_scores
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.measures import MEASURES, Measure
from noisystudent.evaluation.results import RobustnessResult
from noisystudent.evaluation.results_cache import ResultCache
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.models.predictor import Predictor
from noisystudent.runtime.progress import Reporter

ROBUSTNESS = "robustness.json"


class MeasureModule(Protocol):
    """What ``measure.py`` in the folder of every measure provides."""

    def check(self, settings: EvaluationSettings, classes: Sequence[str]) -> None:
        """Raises what ``measure`` would raise, as far as it is known without decoding an image."""

    def measure(
        self,
        predictor: Predictor,
        dataset: EvalDataset,
        settings: EvaluationSettings,
        cache: ResultCache,
        reporter: Reporter,
    ) -> object:
        """Measures the model and returns the measure's field of ``RobustnessResult``."""


def measure(
    predictor: Predictor,
    dataset: EvalDataset,
    settings: EvaluationSettings,
    folder: Path,
    reporter: Reporter,
    *,
    archive_stale: bool = False,
) -> RobustnessResult:
    """Measures everything that ``settings.suite`` names; finished entries in the folder are not measured again.

    Args:
        predictor: the model.
        dataset: the images to evaluate it on.
        settings: the evaluation settings; everything that they name is checked first (see ``check_suite``).
        folder: where finished entries and ``robustness.json`` are written.
        reporter: shows progress.
        archive_stale: whether to archive entries of another model, other images or other settings; otherwise they
            are refused.

    Returns:
        The results, as in ``robustness.json``. Clean accuracy is always among them.

    Raises:
        MismatchError: the folder has entries of another model, other images or other settings, and ``archive_stale``
            is false.
    """
    check_suite(settings, predictor.classes)
    inputs = {"subject": predictor.fingerprint, "audience": dataset.fingerprint, "precision": predictor.precision}
    if predictor.engine != "torch":
        inputs["engine"] = predictor.engine
    cache = ResultCache.open(folder, inputs, archive_stale=archive_stale)
    clean = clean_results(predictor, dataset, cache)
    measures: dict[str, Any] = {
        chosen.name: module_of(chosen).measure(predictor, dataset, settings, cache, reporter)
        for chosen in _chosen(settings)
    }
    mapping = dataset.mapping
    result = RobustnessResult(
        model=predictor.name,
        source=dataset.name,
        count=len(clean.correct),
        clean=clean_scores(clean, len(predictor.classes)),
        classes=mapping.explanation if mapping and not mapping.is_identity else "",
        unreadable=dataset.count - len(clean.correct),
        **measures,
    )
    write_result(folder / ROBUSTNESS, result)
    return result


def check_suite(settings: EvaluationSettings, classes: Sequence[str]) -> None:
    """Checks that everything the suite needs is there, before hours of evaluation or training.

    Args:
        settings: the evaluation settings.
        classes: the class of each output of the model.

    Raises:
        SettingsError: a corruption or perturbation is unknown, a package is missing, or a setting is for measures that
            are not in the suite.
        DataError: a published or naturally shifted set, or the images of frost, are missing or do not fit the model.
        ArtifactError: the file of the baseline is missing or has no results of a measure.
    """
    for chosen in _chosen(settings):
        module_of(chosen).check(settings, classes)
    check_baseline(settings)


def module_of(measure: Measure) -> MeasureModule:
    """The measuring part of a measure; imported only here, because it needs torch and the list of measures must not."""
    return cast(MeasureModule, import_module(f"noisystudent.evaluation.{measure.folder}.measure"))


def _chosen(settings: EvaluationSettings) -> list[Measure]:
    return [measure for measure in MEASURES if measure.name in settings.suite]
