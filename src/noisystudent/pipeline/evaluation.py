"""Opens what a suite measures: the model, the images and the settings, all checked before anything is measured."""

from __future__ import annotations

from pathlib import Path

from noisystudent.config import Command, runtime_to_predict, section_settings
from noisystudent.data.output import require_output_folder
from noisystudent.data.settings import DataSettings
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.errors import SettingsError
from noisystudent.evaluation.class_mapping import map_source_classes
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.evaluation.suite import check_suite
from noisystudent.models.predictor import Predictor
from noisystudent.runtime.process_group import open_process_group
from noisystudent.settings_input import SettingsInput


def check_robustness(
    checkpoint: str | Path | Predictor,
    source: str | Path | Source,
    out: str | Path,
    settings: SettingsInput | None,
    command: Command,
) -> None:
    """Validates the arguments of ``robustness`` without decoding any image; raises what it would raise."""
    predictor, _, evaluation = open_evaluation(checkpoint, source, out, settings, command)
    check_suite(evaluation, predictor.classes)


def open_evaluation(
    checkpoint: str | Path | Predictor,
    source: str | Path | Source,
    out: str | Path,
    settings: SettingsInput | None,
    command: Command,
) -> tuple[Predictor, EvalDataset, EvaluationSettings]:
    """The model, the images and the evaluation settings that ``robustness`` is given."""
    if open_process_group().world_size > 1:
        raise SettingsError("evaluation.suite is measured by one process; start evaluate without torchrun.")
    require_output_folder(out, [source], [checkpoint] if isinstance(checkpoint, str | Path) else [])
    evaluation = section_settings(EvaluationSettings, "evaluation", settings, command=command)
    predictor = Predictor.open(checkpoint, runtime_to_predict(settings, command=command))
    opened = open_source(source, labeled=True)
    dataset = EvalDataset.of_source(
        opened,
        predictor.format,
        map_source_classes(opened.classes, predictor.classes, "evaluated"),
        max_images=evaluation.max_images,
        max_corrupt_fraction=section_settings(DataSettings, "data", settings, command=command).max_corrupt_fraction,
    )
    return predictor, dataset, evaluation
