"""The reference model of ``evaluation.baseline``, whose errors and flip rates count as 100 percent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from noisystudent.artifacts.folder import read_json
from noisystudent.artifacts.typed_json import from_json
from noisystudent.errors import ArtifactError, MismatchError, SettingsError
from noisystudent.evaluation.results import RobustnessResult
from noisystudent.evaluation.settings import EvaluationSettings

_RELATIVE = ("corruptions", "perturbations")  # the measures that are also reported relative to a baseline

Result = TypeVar("Result")


def check_baseline(settings: EvaluationSettings) -> None:
    """Raises ``SettingsError`` for a baseline if no measure of the suite uses one."""
    if settings.baseline and not any(name in settings.suite for name in _RELATIVE):
        raise SettingsError(
            f"evaluation.baseline {settings.baseline!r} is for corruptions and perturbations, and the suite has "
            "neither. Add one to evaluation.suite, or leave the baseline out."
        )


def read_baseline(
    path: str, measure: str, result_of: Callable[[RobustnessResult], Result | None]
) -> tuple[str, Result]:
    """Reads one measure of a reference model.

    Args:
        path: its ``robustness.json``.
        measure: the name of the measure, for messages.
        result_of: gives the result of the measure.

    Returns:
        The name of the reference model, and its result.

    Raises:
        ArtifactError: the file is missing, is not a ``robustness.json``, or has no result of the measure.
    """
    if Path(path).is_dir():
        raise ArtifactError(f"evaluation.baseline {path!r} is a folder; give the robustness.json in it.")
    try:
        content = read_json(Path(path))
    except ArtifactError as error:
        raise ArtifactError(
            f"evaluation.baseline {path!r} is missing or is not JSON. Give the robustness.json of a model that "
            f"evaluate measured with --suite {measure}."
        ) from error
    baseline = from_json(RobustnessResult, content, f"evaluation.baseline {path!r}")
    result = result_of(baseline)
    if result is None:
        raise ArtifactError(f"The baseline {path!r} has no {measure}. Measure it with --suite {measure}.")
    return baseline.model, result


def check_comparable(path: str, measure: str, ours: object, baseline: object, fields: Sequence[str]) -> None:
    """Raises ``MismatchError`` unless a result and the baseline's have the same values of the named fields."""
    for name in fields:
        if getattr(ours, name) != getattr(baseline, name):
            raise MismatchError(
                f"The {measure} of the baseline {path!r} were measured differently: {name} is "
                f"{getattr(baseline, name)!r} there and {getattr(ours, name)!r} here. Measure both in the same way."
            )


def check_complete(path: str, ours: Collection[str], baseline: Collection[str]) -> None:
    """Raises ``MismatchError`` if the baseline lacks anything that was measured here."""
    missing = [name for name in ours if name not in baseline]
    if missing:
        raise MismatchError(
            f"The baseline {path!r} lacks {', '.join(missing)}, or a part of it, such as a severity. "
            "Measure them there too, or not here."
        )
