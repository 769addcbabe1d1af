"""Errors under ImageNet-C's corruptions, made from the pictures at hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from noisystudent.corruptions.corrupt import available_corruptions, corrupt
from noisystudent.corruptions.tables import CORRUPTIONS, TEST_CORRUPTIONS, table_for
from noisystudent.errors import SettingsError, nearest_name
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.evaluation.shift import corruption_errors
from noisystudent.runtime.progress import Reporter
from noisystudent.suites.audience import Audience, Sitting
from noisystudent.suites.clean import temperatures_of
from noisystudent.suites.kept import Kept
from noisystudent.suites.outcomes import Outcomes, look
from noisystudent.suites.subject import Subject

Corrupted = Iterator[tuple[str, int, Outcomes]]  # corruption, severity, and how each picture fared


def measure_corruptions(
    subject: Subject, audience: Audience, settings: EvaluationSettings, kept: Kept, reporter: Reporter
) -> dict[str, Any]:
    """Top-1 errors by corruption and severity, their means, and the calibration error at each severity.

    ``mean`` is over ImageNet-C's 15 corruptions at all severities, or None where ``missing`` names what is not there;
    it is not divided by another network's errors, which were measured on ImageNet alone. Raises ``SettingsError`` for a
    corruption that does not exist, and ``DataError`` for frost that is named without textures.
    """
    errors: dict[str, dict[int, float]] = {}
    for name, severity, outcomes in corrupted_outcomes(subject, audience, settings, kept, reporter):
        errors.setdefault(name, {})[severity] = 1 - float(outcomes.right.mean())
        count = len(outcomes.right)
    summary = asdict(corruption_errors(errors))
    summary["missing"] = list(summary["missing"])
    return {
        "source": "generated",
        "table": _table(subject, settings),
        "count": count,
        "errors": {name: {str(each): error for each, error in by.items()} for name, by in errors.items()},
        **summary,
    }


def corrupted_outcomes(
    subject: Subject, audience: Audience, settings: EvaluationSettings, kept: Kept, reporter: Reporter
) -> Corrupted:
    """How each picture fares under each corruption at each severity, one condition at a time."""
    names, table = corruptions_to_make(settings), _table(subject, settings)
    temperatures = temperatures_of(subject, audience, kept)
    room = kept.room("corruptions", {"seed": settings.seed, "table": table, "frost_textures": settings.frost_textures})
    rows = audience.count * len(names) * len(settings.severities)
    with reporter.bar("corruptions", rows, "pictures") as bar:
        for name, severity in itertools.product(names, settings.severities):
            change = partial(_corrupted, name=name, severity=severity, settings=settings, table=table)
            measure = partial(look, subject, audience, temperatures, change)
            outcomes = room.outcomes(f"{name}-{severity}", measure)
            bar.advance(len(outcomes.right))
            yield name, severity, outcomes


def _table(subject: Subject, settings: EvaluationSettings) -> int:
    """The picture size in pixels whose published strengths are taken."""
    return table_for(subject.size) if settings.table == "auto" else settings.table


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
