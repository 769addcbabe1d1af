"""Pictures as they are: how each fares, and the temperatures that its confidence needs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from noisystudent.evaluation.eval_dataset import Audience
from noisystudent.evaluation.per_image import Outcomes, Temperatures, look
from noisystudent.evaluation.results_cache import Kept
from noisystudent.evaluation.subject import Subject

CLEAN = "clean"  # the name of the piece that holds the outcomes without any change


def temperatures_of(subject: Subject, audience: Audience, kept: Kept) -> Temperatures:
    """The temperatures of the audience's halves, fitted now unless they are there."""
    return Temperatures(**kept.numbers("temperatures", lambda: asdict(Temperatures.fitted(subject, audience))))


def clean_outcomes(subject: Subject, audience: Audience, kept: Kept) -> Outcomes:
    """How each picture fares as it is."""
    temperatures = temperatures_of(subject, audience, kept)
    return kept.outcomes(CLEAN, lambda: look(subject, audience, temperatures, lambda sitting: sitting.views))


def describe_clean(found: Outcomes) -> dict[str, Any]:
    """Top-1 and top-5 accuracy, and the standard error of the first over pictures."""
    top1 = float(found.right.mean())
    return {
        "top1": top1,
        "top1_standard_error": math.sqrt(top1 * (1 - top1) / len(found.right)),
        "top5": float(found.among_five.mean()),
    }
