"""Noisy Student training: a few labels and many unlabeled images in, a better classifier and an honest verdict out.

The commands of the command line are functions here under the same names. Everything is imported on first use, so that
``import noisystudent`` does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noisystudent import parts
    from noisystudent.api import (
        check,
        compare,
        distill,
        evaluate,
        export,
        fix,
        label,
        plan,
        plan_study,
        predict,
        pretrain,
        report,
        robustness,
        run,
        select,
        show_noise,
        study,
        table,
        train,
    )
    from noisystudent.commands.demo import demo
    from noisystudent.data.munge import munge
    from noisystudent.data.settings import DataSettings
    from noisystudent.data.shards.pack import pack
    from noisystudent.errors import NoisyStudentError
    from noisystudent.estimator import NoisyStudentClassifier
    from noisystudent.evaluation.metrics.results import EvaluationResult
    from noisystudent.evaluation.predict_source import PredictionSummary
    from noisystudent.evaluation.results import ComparisonResult, RobustnessResult
    from noisystudent.evaluation.settings import EvaluationSettings
    from noisystudent.evaluation.verdict import Verdict
    from noisystudent.losses.objectives import LossTerms
    from noisystudent.losses.settings import DistillationSettings, ObjectiveSettings, OnlineSettings
    from noisystudent.models.load_predictor import load
    from noisystudent.models.predictor import Predictor
    from noisystudent.models.settings import ModelSettings
    from noisystudent.noise.settings import NoiseSettings, UnlabeledNoiseSettings
    from noisystudent.pipeline.checkpoints import Checkpoint
    from noisystudent.pipeline.pretrain_single import Pretrained
    from noisystudent.pipeline.pretraining.probe import ProbeResult
    from noisystudent.pipeline.run_folder import Run, open_run
    from noisystudent.pipeline.studies.cells import Cell, Study
    from noisystudent.pseudo_labels.selection.custom import PredictionColumns
    from noisystudent.pseudo_labels.selection.results import SelectionSummary
    from noisystudent.pseudo_labels.selection.settings import SelectionSettings
    from noisystudent.results.article import ArticleTable
    from noisystudent.results.facts import PlanResult
    from noisystudent.results.fix import FixResult
    from noisystudent.results.run import RunSummary
    from noisystudent.results.study import StudyResult
    from noisystudent.run_settings import RoundSettings, RunSettings
    from noisystudent.runtime.settings import RuntimeSettings
    from noisystudent.training.fix_settings import FixSettings
    from noisystudent.training.loader import Batch
    from noisystudent.training.pretraining_settings import PretrainingSettings
    from noisystudent.training.settings import HeadSettings, TrainSettings

__version__ = "0.1.0"

_MODULE_OF = {
    # functions
    "compare": "api",
    "demo": "commands.demo",
    "check": "api",
    "distill": "api",
    "evaluate": "api",
    "export": "api",
    "fix": "api",
    "label": "api",
    "load": "models.load_predictor",
    "munge": "data.munge",
    "open_run": "pipeline.run_folder",
    "pack": "data.shards.pack",
    "plan": "api",
    "plan_study": "api",
    "predict": "api",
    "pretrain": "api",
    "report": "api",
    "robustness": "api",
    "run": "api",
    "select": "api",
    "show_noise": "api",
    "study": "api",
    "table": "api",
    "train": "api",
    # what they take and return
    "ArticleTable": "results.article",
    "Batch": "training.loader",
    "Cell": "pipeline.studies.cells",
    "Checkpoint": "pipeline.checkpoints",
    "ComparisonResult": "evaluation.results",
    "EvaluationResult": "evaluation.metrics.results",
    "FixResult": "results.fix",
    "LossTerms": "losses.objectives",
    "NoisyStudentClassifier": "estimator",
    "NoisyStudentError": "errors",
    "PlanResult": "results.facts",
    "PredictionSummary": "evaluation.predict_source",
    "PredictionColumns": "pseudo_labels.selection.custom",
    "Predictor": "models.predictor",
    "Pretrained": "pipeline.pretrain_single",
    "ProbeResult": "pipeline.pretraining.probe",
    "RobustnessResult": "evaluation.results",
    "Run": "pipeline.run_folder",
    "RunSummary": "results.run",
    "SelectionSummary": "pseudo_labels.selection.results",
    "Study": "pipeline.studies.cells",
    "StudyResult": "results.study",
    "Verdict": "evaluation.verdict",
    # settings
    "DataSettings": "data.settings",
    "DistillationSettings": "losses.settings",
    "EvaluationSettings": "evaluation.settings",
    "ModelSettings": "models.settings",
    "FixSettings": "training.fix_settings",
    "NoiseSettings": "noise.settings",
    "ObjectiveSettings": "losses.settings",
    "OnlineSettings": "losses.settings",
    "PretrainingSettings": "training.pretraining_settings",
    "RoundSettings": "run_settings",
    "RunSettings": "run_settings",
    "RuntimeSettings": "runtime.settings",
    "SelectionSettings": "pseudo_labels.selection.settings",
    "HeadSettings": "training.settings",
    "TrainSettings": "training.settings",
    "UnlabeledNoiseSettings": "noise.settings",
}

__all__ = [
    "ArticleTable",
    "Batch",
    "Cell",
    "Checkpoint",
    "ComparisonResult",
    "DataSettings",
    "DistillationSettings",
    "EvaluationResult",
    "EvaluationSettings",
    "FixResult",
    "FixSettings",
    "HeadSettings",
    "LossTerms",
    "ModelSettings",
    "NoiseSettings",
    "NoisyStudentClassifier",
    "NoisyStudentError",
    "ObjectiveSettings",
    "OnlineSettings",
    "PlanResult",
    "PredictionColumns",
    "PredictionSummary",
    "Predictor",
    "Pretrained",
    "PretrainingSettings",
    "ProbeResult",
    "RobustnessResult",
    "RoundSettings",
    "Run",
    "RunSettings",
    "RunSummary",
    "RuntimeSettings",
    "SelectionSettings",
    "SelectionSummary",
    "Study",
    "StudyResult",
    "TrainSettings",
    "UnlabeledNoiseSettings",
    "Verdict",
    "check",
    "compare",
    "demo",
    "distill",
    "evaluate",
    "export",
    "fix",
    "label",
    "load",
    "munge",
    "open_run",
    "pack",
    "parts",
    "plan",
    "plan_study",
    "predict",
    "pretrain",
    "report",
    "robustness",
    "run",
    "select",
    "show_noise",
    "study",
    "table",
    "train",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attributes are of any type
    from importlib import import_module

    if name == "parts":
        return import_module("noisystudent.parts")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'noisystudent' has no attribute {name!r}")
    return getattr(import_module(f"noisystudent.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
