"""Comparison of several models on the same images under the same conditions, paired image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from noisystudent.artifacts.tables import read_table
from noisystudent.artifacts.typed_json import read_result
from noisystudent.errors import DataError
from noisystudent.evaluation.clean import CLEAN
from noisystudent.evaluation.results import (
    CleanDifference,
    ComparisonResult,
    CorruptionDifference,
    ModelDifferences,
    RobustnessResult,
)
from noisystudent.evaluation.suite import ROBUSTNESS
from noisystudent.evaluation.verdict import compare
from noisystudent.random_streams import generator

RESAMPLES = 2000

Bools = npt.NDArray[np.bool_]
Correct = Mapping[str, Bools]  # whether each image is correct, by condition


def comparison(folders: Mapping[str, Path]) -> ComparisonResult:
    """Compares measured models with the first of them.

    Differences are accuracies minus those of the first model, with 95% intervals: on clean images by the paired
    bootstrap, with McNemar's test; on corrupted images by resampling images, each with all its corrupted versions, per
    severity and over all conditions that were measured of every model.

    Args:
        folders: the folder that ``suite.measure`` wrote, by the name of the model.

    Returns:
        The results of all models, and the differences.

    Raises:
        DataError: the models were measured on different images.
    """
    names = list(folders)
    measured = {name: read_result(RobustnessResult, folder / ROBUSTNESS) for name, folder in folders.items()}
    correct = {name: _correct(folder, measured[name]) for name, folder in folders.items()}
    first = correct[names[0]]
    counts = {len(by_condition[CLEAN]) for by_condition in correct.values()}
    if len(counts) > 1:
        raise DataError(
            f"The models were measured on {', '.join(map(str, sorted(counts)))} images; they can only be compared on "
            "the same images. Give all of them a source that every model can read."
        )
    shared = [
        condition
        for condition in first
        if condition != CLEAN and all(condition in by_condition for by_condition in correct.values())
    ]
    _check_lengths(correct, shared)
    differences = {name: _differences(correct[name], first, shared) for name in names[1:]}
    return ComparisonResult(first=names[0], measured=measured, differences=differences)


def _correct(folder: Path, result: RobustnessResult) -> Correct:
    """Which images are correct, clean and under each condition in the result."""
    errors = result.corruptions.errors if result.corruptions else {}
    conditions = [f"{name}-{severity}" for name, by_severity in errors.items() for severity in by_severity]
    files = {CLEAN: folder / f"{CLEAN}.parquet"}
    files |= {condition: folder / "corruptions" / f"{condition}.parquet" for condition in conditions}
    return {name: read_table(path, ["correct"])["correct"].to_numpy() for name, path in files.items()}


def _check_lengths(correct: Mapping[str, Correct], conditions: Sequence[str]) -> None:
    """Refuses a published set with gaps: an image is resampled with all its corrupted versions, so all must exist."""
    lengths = {len(by_condition[condition]) for by_condition in correct.values() for condition in conditions}
    if len(lengths) > 1:
        raise DataError(
            f"The conditions have {', '.join(map(str, sorted(lengths)))} images, and are compared image by image. "
            "Complete the set of corrupted images, or name complete corruptions in evaluation.corruptions."
        )


def _differences(correct: Correct, first: Correct, conditions: Sequence[str]) -> ModelDifferences:
    by_severity: dict[int, list[str]] = {}
    for condition in conditions:
        by_severity.setdefault(int(condition.rpartition("-")[2]), []).append(condition)
    return ModelDifferences(
        clean=CleanDifference(**asdict(compare(correct[CLEAN], first[CLEAN]))),
        corruptions=_difference(correct, first, conditions) if conditions else None,
        by_severity={severity: _difference(correct, first, by_severity[severity]) for severity in sorted(by_severity)},
    )


def _difference(correct: Correct, first: Correct, conditions: Sequence[str]) -> CorruptionDifference:
    """The mean accuracy minus that of the first model over the conditions, with its 95% interval over images."""
    by_image = np.mean(
        [correct[condition].astype(np.int8) - first[condition].astype(np.int8) for condition in conditions], axis=0
    )
    random = generator(0, "bootstrap")
    means = [float(by_image[random.integers(0, len(by_image), len(by_image))].mean()) for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return CorruptionDifference(
        difference=float(by_image.mean()), interval=(float(low), float(high)), conditions=len(conditions)
    )
