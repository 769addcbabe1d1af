"""Errors under ImageNet-C's corruptions, made from the pictures at hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from noisystudent.corruptions.corrupt import available_corruptions, corrupt
from noisystudent.corruptions.tables import CORRUPTIONS, TEST_CORRUPTIONS, table_for
from noisystudent.errors import SettingsError, nearest_name
from noisystudent.evaluation.calibration import expected_calibration_error, reliability_of
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.evaluation.shift import corruption_errors
from noisystudent.runtime.progress import Reporter
from noisystudent.suites.audience import Audience, Sitting
from noisystudent.suites.kept import Kept, Outcomes
from noisystudent.suites.subject import Subject

CLEAN = "clean"  # the name of the piece that holds the outcomes without any corruption


def measure_clean(subject: Subject, audience: Audience, kept: Kept) -> Outcomes:
    """How each picture fares as it is."""
    return kept.outcomes(CLEAN, lambda: look(subject, audience, lambda sitting: sitting.views))


def measure_corruptions(
    subject: Subject, audience: Audience, settings: EvaluationSettings, kept: Kept, reporter: Reporter
) -> dict[str, Any]:
    """Top-1 errors by corruption and severity, their means, and the calibration error at each severity.

    ``mean`` is over ImageNet-C's 15 corruptions at all severities, or None where ``missing`` names what is not there;
    it is not divided by another network's errors, which were measured on ImageNet alone. Raises ``SettingsError`` for a
    corruption that does not exist, and ``DataError`` for frost that is named without textures.
    """
    names = corruptions_to_make(settings)
    table = table_for(subject.size) if settings.table == "auto" else settings.table
    errors: dict[str, dict[int, float]] = {name: {} for name in names}
    found: dict[int, list[Outcomes]] = {severity: [] for severity in settings.severities}
    room = kept.room("corruptions", {"seed": settings.seed, "table": table, "frost_textures": settings.frost_textures})
    rows = audience.count * len(names) * len(settings.severities)
    with reporter.bar("corruptions", rows, "pictures") as bar:
        for name, severity in itertools.product(names, settings.severities):
            change = partial(_corrupted, name=name, severity=severity, settings=settings, table=table)
            outcomes = room.outcomes(f"{name}-{severity}", partial(look, subject, audience, change))
            errors[name][severity] = 1 - float(outcomes.right.mean())
            found[severity].append(outcomes)
            bar.advance(len(outcomes.right))
    summary = asdict(corruption_errors(errors))
    summary["missing"] = list(summary["missing"])
    return {
        "source": "generated",
        "table": table,
        "count": len(found[settings.severities[0]][0].right),
        "errors": {name: {str(each): error for each, error in by.items()} for name, by in errors.items()},
        **summary,
        "ece": {str(severity): _ece(outcomes) for severity, outcomes in found.items()},
    }


def corruptions_to_make(settings: EvaluationSettings) -> tuple[str, ...]:
    """The corruptions that the settings name, or those of the 15 that can be made here."""
    for name in settings.corruptions:
        if name not in CORRUPTIONS:
            raise SettingsError(
                f"evaluation.corruptions names {name!r}, and there is none of that name."
                f"{nearest_name(name, CORRUPTIONS)} There are {', '.join(CORRUPTIONS)}."
            )
    makeable = available_corruptions(_textures(settings))
    return settings.corruptions or tuple(name for name in TEST_CORRUPTIONS if name in makeable)


def _textures(settings: EvaluationSettings) -> Path | None:
    return Path(settings.frost_textures) if settings.frost_textures else None


def _corrupted(sitting: Sitting, *, name: str, severity: int, settings: EvaluationSettings, table: int) -> Tensor:
    return corrupt(
        sitting.views, name, severity, index=sitting.index, seed=settings.seed, table=table,
        frost_textures=_textures(settings),
    )  # fmt: skip


def look(subject: Subject, audience: Audience, change: Callable[[Sitting], Tensor]) -> Outcomes:
    """How each picture fares after ``change``, which gives the views to be shown."""
    right, confidence = zip(*_answers(subject, audience, change), strict=True)
    return Outcomes(np.concatenate(right), np.concatenate(confidence))


def _answers(
    subject: Subject, audience: Audience, change: Callable[[Sitting], Tensor]
) -> Iterator[tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]]:
    for sitting in audience.sittings(subject.size, subject.device):
        values = subject.log_probabilities(change(sitting))
        yield values.argmax(axis=1) == sitting.labels, np.exp(values.max(axis=1))


def _ece(outcomes: list[Outcomes]) -> float:
    """The expected calibration error of all corruptions of a severity together."""
    confidence = np.concatenate([each.confidence for each in outcomes])
    right = np.concatenate([each.right for each in outcomes])
    return expected_calibration_error(reliability_of(confidence, right))
