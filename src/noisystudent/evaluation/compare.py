"""Several classifiers on the same images under the same conditions, each beside the first, image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from noisystudent.artifacts.folder import read_json
from noisystudent.errors import DataError
from noisystudent.evaluation.clean import CLEAN
from noisystudent.evaluation.suite import ROBUSTNESS
from noisystudent.evaluation.verdict import compare
from noisystudent.random_streams import generator

RESAMPLES = 2000

Bools = npt.NDArray[np.bool_]


def comparison(folders: Mapping[str, Path]) -> dict[str, Any]:
    """What ``comparison.json`` holds of measured classifiers, by name: the first is what the others are compared with.

    ``differences`` are accuracies minus those of the first, with 95% intervals: of clean images by the paired
    bootstrap and McNemar's test, and of corrupted ones by resampling images, each with all its corrupted selves, by
    severity and over all conditions that every classifier was measured under. Raises ``DataError`` where the images
    are not the same.
    """
    names = list(folders)
    measured = {name: read_json(folder / ROBUSTNESS) for name, folder in folders.items()}
    correct = {name: _right(folder, measured[name]) for name, folder in folders.items()}
    first = correct[names[0]]
    counts = {len(each[CLEAN]) for each in correct.values()}
    if len(counts) > 1:
        raise DataError(
            f"The classifiers were measured on {', '.join(map(str, sorted(counts)))} images; they can only be "
            "compared on the same ones. Give them one source that all can read."
        )
    common = [each for each in first if each != CLEAN and all(each in other for other in correct.values())]
    _check_lengths(correct, common)
    differences = {
        name: {
            "clean": asdict(compare(correct[name][CLEAN], first[CLEAN])),
            "corruptions": _difference(correct[name], first, common),
            "by_severity": {
                severity: _difference(correct[name], first, [each for each in common if each.endswith(f"-{severity}")])
                for severity in sorted({each.rpartition("-")[2] for each in common})
            },
        }
        for name in names[1:]
    }
    return {
        "first": names[0],
        "measured": measured,
        "differences": differences,
    }


def _right(folder: Path, told: Mapping[str, Any]) -> dict[str, Bools]:
    """Which images are right, clean and by corruption and severity, as far as the measures tell of them."""
    errors = told.get("corruptions", {}).get("errors", {})
    conditions = [f"{name}-{severity}" for name, by_severity in errors.items() for severity in by_severity]
    files = {CLEAN: folder / f"{CLEAN}.parquet"}
    files |= {each: folder / "corruptions" / f"{each}.parquet" for each in conditions}
    return {name: pq.read_table(path, columns=["correct"])["correct"].to_numpy() for name, path in files.items()}


def _check_lengths(correct: Mapping[str, Mapping[str, Bools]], conditions: Sequence[str]) -> None:
    """Of a published set with gaps: images are resampled with all their corrupted selves, so all must be there."""
    lengths = {len(each[condition]) for each in correct.values() for condition in conditions}
    if len(lengths) > 1:
        raise DataError(
            f"The conditions have {', '.join(map(str, sorted(lengths)))} images, and are compared one by one. "
            "Complete the set of corrupted images, or name complete ones in evaluation.corruptions."
        )


def _difference(
    one: Mapping[str, Bools], other: Mapping[str, Bools], conditions: Sequence[str]
) -> dict[str, Any] | None:
    """Mean accuracy of one minus that of the other over the conditions, and its 95% interval; None without any."""
    if not conditions:
        return None
    each = np.mean([one[name].astype(np.int8) - other[name].astype(np.int8) for name in conditions], axis=0)
    random = generator(0, "bootstrap")
    means = [float(each[random.integers(0, len(each), len(each))].mean()) for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return {"difference": float(each.mean()), "interval": [float(low), float(high)], "conditions": len(conditions)}
