"""Another classifier's measures, taken the same way, which are to have 100: what is measured in percent of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from noisystudent.artifacts.folder import read_json
from noisystudent.errors import ArtifactError, MismatchError
from noisystudent.evaluation.corruptions.metrics import error_rates
from noisystudent.evaluation.corruptions.tables import TEST_CORRUPTIONS, TEST_PERTURBATIONS
from noisystudent.evaluation.perturbations.metrics import mean_rate

_MEASURES = {"mean_flip_rate": "flip_probability", "mean_top5_distance": "top5_distance"}


def relative_stability(told: Mapping[str, Any], baseline: str) -> dict[str, Any]:
    """Flip rates and top-5 distances of ``told``, the measured perturbations, in percent of the baseline's.

    ``baseline`` is the path of its ``robustness.json``. The means, mFR and mT5D, are over ImageNet-P's ten, or None
    unless all were measured. Raises ``MismatchError`` where the baseline was measured otherwise or lacks one of the
    perturbations, and ``DataError`` where it never flips.
    """
    name, found = _measured(baseline, "perturbations", told, ("source", "table", "difficulty"))
    ours, theirs = told["perturbations"], _whole(found.get("perturbations"))
    _check_all_there(baseline, ours, theirs)
    relative: dict[str, Any] = {"baseline": name}
    rates: dict[str, dict[str, float]] = {each: {} for each in ours}
    for title, measure in _MEASURES.items():
        values, divisors = ({each: side[each][measure] for each in ours} for side in (ours, theirs))
        for each in ours:
            rates[each][measure] = mean_rate(values, divisors, (each,))
        whole = set(TEST_PERTURBATIONS) <= ours.keys()
        relative[title] = mean_rate(values, divisors, TEST_PERTURBATIONS) if whole else None
    return {**relative, "perturbations": rates}


def relative_errors(told: Mapping[str, Any], baseline: str) -> dict[str, Any]:
    """Errors of ``told``, the measured corruptions, in percent of the baseline's, over all severities.

    ``mean_corruption_error`` is over ImageNet-C's 15, or None where ``told`` has no mean over them. Raises
    ``MismatchError`` where the baseline was measured otherwise or lacks one of the corruptions.
    """
    name, found = _measured(baseline, "corruptions", told, ("source", "table", "missing_classes"))
    ours, theirs = told["per_corruption"], found.get("per_corruption", {})
    _check_all_there(baseline, ours, theirs)
    rates = error_rates(ours, theirs)
    mean = None if told["mean"] is None else sum(rates[each] for each in TEST_CORRUPTIONS) / len(TEST_CORRUPTIONS)
    return {"baseline": name, "mean_corruption_error": mean, "corruption_errors": rates}


def read_baseline(path: str, suite: str) -> tuple[str, Mapping[str, Any]]:
    """The name of the classifier whose ``robustness.json`` is at ``path``, and what it has of ``suite``.

    Raises ``ArtifactError`` for another file, and for one without that suite.
    """
    if Path(path).is_dir():
        raise ArtifactError(f"evaluation.baseline {path!r} is a folder; give the robustness.json in it.")
    try:
        content = read_json(Path(path))
    except ArtifactError as error:
        raise ArtifactError(
            f"evaluation.baseline {path!r} is not there, or is no JSON. Give the robustness.json of a classifier that "
            f"evaluate measured with --suite {suite}."
        ) from error
    found = content.get(suite) if isinstance(content, dict) else None
    if not isinstance(found, dict) or "subject" not in content:
        raise ArtifactError(f"The baseline {path!r} has no {suite}. Measure it with --suite {suite}.")
    return content["subject"], found


def _measured(path: str, suite: str, told: Mapping[str, Any], same: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
    """The baseline's name and what it has of a suite, in which the values of ``same`` must be those of ``told``."""
    predictor, found = read_baseline(path, suite)
    for name in same:
        if found.get(name) != told.get(name):
            raise MismatchError(
                f"The {suite} of the baseline {path!r} were measured otherwise: {name} is {found.get(name)!r} there "
                f"and {told.get(name)!r} here. Measure both alike."
            )
    return predictor, found


def _whole(perturbations: Any) -> dict[str, Mapping[str, float]]:  # noqa: ANN401 - from a file of anyone's
    """The perturbations of a baseline that have all of the measures."""
    if not isinstance(perturbations, dict):
        return {}
    measures = set(_MEASURES.values())
    return {name: each for name, each in perturbations.items() if isinstance(each, dict) and measures <= each.keys()}


def _check_all_there(path: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    lacking = [name for name in ours if name not in theirs]
    if lacking:
        raise MismatchError(
            f"The baseline {path!r} lacks {', '.join(lacking)}, or a part of it, such as a severity. "
            "Measure them there too, or not here."
        )
