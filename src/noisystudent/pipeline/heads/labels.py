"""The stages between teachers and a student on features: their mean labels the images, and the student fits a head."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.folder import fingerprint_of, read_manifest, write_json
from noisystudent.artifacts.typed_json import read_result, to_json
from noisystudent.errors import MismatchError
from noisystudent.losses.settings import ObjectiveSettings
from noisystudent.pipeline.context import RunContext
from noisystudent.pipeline.features.stage import RunFeatures
from noisystudent.pipeline.features.teachers import LEAST, FeatureTeachers
from noisystudent.pipeline.labels.pseudo_labels import select_pseudo_labels
from noisystudent.pipeline.stages.train_data import pseudo_targets, require_some
from noisystudent.pseudo_labels import predictions
from noisystudent.pseudo_labels.predictions import PREDICTIONS, SUMMARY, ShardLabels, cut_parts, list_parts
from noisystudent.pseudo_labels.selection.parts import SELECTION
from noisystudent.pseudo_labels.selection.results import SelectionSummary
from noisystudent.pseudo_labels.shift import ClassShares
from noisystudent.results.run import StageCost
from noisystudent.training.linear_head import HeadData, LinearHead, fit_head

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def label_features(
    context: RunContext,
    stage: str,
    teachers: FeatureTeachers,
    weights: Mapping[str, float],
    rows: Ints,
    head: LinearHead,
    aim: ClassShares | None = None,
) -> Path:
    """The teachers' mean predictions for every unlabeled image, in the folder of ``stage``.

    Args:
        context: The run.
        stage: The name of the stage.
        teachers: Who labels.
        weights: The weight of each in the mean.
        rows: The labeled rows that they may know.
        head: The current head.
        aim: The class shares for which the predictions are corrected where ``selection.align`` says so.
    """
    folder, features = context.folder_of(stage), teachers.features
    inputs: dict[str, object] = {
        "features": teachers.fingerprint,
        "teachers": dict(weights),
        "head": head_fingerprint(head),
        "rows": fingerprint_of(rows.tolist()),
        "classes": list(context.splits.classes),
    }
    aligned = aim if context.settings.selection.align == "prior" else None
    if aligned:
        inputs["aligned"] = to_json(aligned)
    asks_typicality = context.settings.selection.foreign == "drop"
    if asks_typicality:
        inputs["typicality"] = True
    if context.is_complete(stage, inputs):
        return folder
    values = np.log(np.maximum(teachers.mean(weights, rows, head)[len(features.labeled[0]) :], LEAST))
    if aligned:
        values = aligned.correct(values)
    typicality = teachers.typicality(rows) if asks_typicality else None

    def write() -> None:
        _write_parts(folder, features, values, typicality)
        stats = [predictions.read_part_stats(path) for path in list_parts(folder)]
        failed = sum(len(shard.failures) for shard in features.shards)
        write_json(folder / SUMMARY, predictions.summarize(stats, len(context.splits.classes), failed=failed))
        context.commit(PREDICTIONS, inputs, StageCost(name=stage))

    context.engine.group.on_main(write)
    return folder


def _write_parts(folder: Path, features: RunFeatures, log_probabilities: Floats, typicality: Floats | None) -> None:
    """Writes the predictions in the parts and shards that a network's predictions have."""
    ends = np.cumsum([len(shard.keys) for shard in features.shards])[:-1]
    by_shard = np.split(log_probabilities, ends)
    typical = [None] * len(by_shard) if typicality is None else np.split(typicality, ends)
    for number, shards in enumerate(cut_parts(len(features.shards))):
        rows = [
            ShardLabels.of(
                features.shards[shard].keys,
                by_shard[shard],
                [(failure.key, failure.reason) for failure in features.shards[shard].failures],
                typical[shard],
            )
            for shard in shards
        ]
        predictions.write_part(predictions.part_path(folder, number), rows)


def student_data(
    context: RunContext,
    teachers: FeatureTeachers,
    rows: Ints,
    predictions_folder: Path,
    selection_folder: Path,
    round_number: int,
) -> list[HeadData]:
    """What a round's head learns from: labeled rows and selected pseudo labels, in the ratio of ``train.ratio``.

    The classes weigh as the shares that the selection aims at, or equally.
    """
    features, settings = teachers.features, context.settings
    keys, log_probabilities = predictions.read_all(predictions_folder, teachers.classes)
    if keys != [key for shard in features.shards for key in shard.keys]:
        raise MismatchError(f"{predictions_folder} was made for other images than the unlabeled ones given.")
    copies = np.concatenate([predictions.read_copies(path) for path in list_parts(selection_folder)])
    chosen = np.flatnonzero(copies)
    require_some(context, selection_folder, len(chosen), len(copies))
    targets = pseudo_targets(settings.objective, teachers.classes, log_probabilities[chosen]).numpy()
    summary = read_result(SelectionSummary, selection_folder / SUMMARY)
    shares = np.array([1.0 if of_class.share is None else of_class.share for of_class in summary.per_class])
    by_class = (targets * copies[chosen, None]).sum(axis=0)
    weights = copies[chosen] * (targets / np.maximum(by_class, 1e-12) * shares).sum(axis=1)
    ratio = settings.train.ratio_of(round_number)
    share = ratio / (1 + ratio)
    views = [view[chosen] for view in features.unlabeled]
    pseudo = HeadData(views, targets, (weights / weights.sum() * share).astype(np.float32))
    return [teachers.labeled(rows, 1 - share), pseudo]


def fit_student(
    context: RunContext,
    teachers: FeatureTeachers,
    rows: Ints,
    predictions_folder: Path,
    selection_folder: Path,
    round_number: int,
) -> LinearHead:
    """The head of a round's student, under all views."""
    data = student_data(context, teachers, rows, predictions_folder, selection_folder, round_number)
    penalty, tau = context.settings.head.student_penalty, teachers.logit_adjustment
    return fit_head(data, teachers.features.scaler, penalty, teachers.device, logit_adjustment=tau)


def label_and_select(
    context: RunContext,
    prefix: str,
    teachers: FeatureTeachers,
    weights: Mapping[str, float],
    rows: Ints,
    head: LinearHead,
    number: int,
    first: Path | None,
    aim: ClassShares | None,
) -> tuple[Path, Path]:
    """The folders of a round's predictions and of its selection, below ``prefix``."""
    labeled = label_features(context, f"{prefix}/predictions", teachers, weights, rows, head, aim)
    return labeled, select_pseudo_labels(context, f"{prefix}/selection", labeled, number, first, aim)


def student_inputs(
    context: RunContext, predictions_folder: Path, selection_folder: Path, round_number: int
) -> dict[str, object]:
    """All that decides the head of a round's student beside the features."""
    settings = context.settings
    return {
        "predictions": read_manifest(predictions_folder, PREDICTIONS).fingerprint,
        "selection": read_manifest(selection_folder, SELECTION).fingerprint,
        "objective": deciding_objective(settings.objective),
        "ratio": settings.train.ratio_of(round_number),
        "penalty": settings.head.student_penalty,
    }


def deciding_objective(objective: ObjectiveSettings) -> dict[str, object]:
    """The settings of the objective that decide a student's head, for inputs."""
    return {name: value for name, value in objective.deciding().items() if name != "weighting"}


def head_fingerprint(head: LinearHead) -> str:
    """Identifies a head by its weights."""
    return fingerprint_of([head.weight.tobytes().hex(), head.bias.tobytes().hex()])
