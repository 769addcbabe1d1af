"""Accuracy under FGSM and PGD, over several epsilons."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from noisystudent.evaluation.attacks import fgsm, pgd
from noisystudent.evaluation.robust_accuracy import robust_accuracies
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.runtime.progress import Reporter
from noisystudent.suites.audience import Audience
from noisystudent.suites.kept import Kept
from noisystudent.suites.subject import Subject


def measure_attacks(
    subject: Subject, audience: Audience, settings: EvaluationSettings, kept: Kept, reporter: Reporter
) -> dict[str, Any]:
    """Accuracy under both attacks at each epsilon, and the warnings of masked gradients.

    Pixels are those of the subject's own view; pictures that are wrong already count as wrong. ``epsilon`` is in steps
    of 255; in the norm ``l2`` a ball has the radius of pixels that all move by that.
    """
    values = subject.channels * subject.size**2
    scale = math.sqrt(values) / 255 if settings.norm == "l2" else 1 / 255
    how = {"norm": settings.norm, "steps": settings.attack_steps, "restarts": settings.restarts, "seed": settings.seed}
    room = kept.room("attacks", how)
    curve, warnings = [], []
    with reporter.bar("attacks", audience.count * len(settings.epsilons), "pictures") as bar:
        for epsilon in settings.epsilons:
            measure = partial(_at, subject, audience, settings, epsilon * scale)
            told = room.numbers(f"epsilon-{epsilon:g}", measure)
            single, many = told["attacks"]
            curve.append(
                {
                    "epsilon": epsilon,
                    "fgsm": single["robust_accuracy"],
                    "fgsm_standard_error": single["robust_accuracy_standard_error"],
                    "pgd": many["robust_accuracy"],
                    "pgd_standard_error": many["robust_accuracy_standard_error"],
                }
            )
            warnings += [each for each in told["warnings"] if each not in warnings]
            bar.advance(told["count"])
    return {
        "norm": settings.norm,
        "steps": settings.attack_steps,
        "restarts": settings.restarts,
        "count": told["count"],
        "picture": told["picture"],
        "clean": told["clean_accuracy"],
        "curve": curve,
        "warnings": warnings,
    }


def _at(subject: Subject, audience: Audience, settings: EvaluationSettings, epsilon: float) -> dict[str, Any]:
    attacks = [
        fgsm(epsilon, settings.norm),
        pgd(
            epsilon,
            norm=settings.norm,
            steps=settings.attack_steps,
            random_start=settings.restarts > 1,
            restarts=settings.restarts,
        ),
    ]
    report = robust_accuracies(subject.unit, _batches(subject, audience), attacks, seed=settings.seed)
    return report.as_json()


def _batches(subject: Subject, audience: Audience) -> Iterator[tuple[Tensor, Tensor]]:
    for sitting in audience.sittings(subject.size, subject.device):
        labels = torch.from_numpy(sitting.labels)
        for first in range(0, len(labels), subject.batch_size):
            some = slice(first, first + subject.batch_size)
            yield sitting.views[some].float() / 255, labels[some].to(subject.device)
