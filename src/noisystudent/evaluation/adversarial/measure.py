"""Accuracy under FGSM, PGD and, if asked for, AutoAttack, over several epsilons."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from noisystudent.evaluation.adversarial.attacks import fgsm, pgd
from noisystudent.evaluation.adversarial.autoattack import autoattack_accuracy, check_autoattack
from noisystudent.evaluation.adversarial.results import AttackPoint, AttackResult
from noisystudent.evaluation.adversarial.robust_accuracy import robust_accuracies
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.results_cache import ResultCache
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.models.predictor import Predictor
from noisystudent.runtime.progress import Reporter


def check(settings: EvaluationSettings, classes: Sequence[str]) -> None:
    """Raises ``SettingsError`` if AutoAttack is asked for, and is not installed or needs more classes."""
    if settings.autoattack:
        check_autoattack(len(classes))


def measure(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> AttackResult:
    """Measures the accuracy under the attacks at each epsilon.

    The pixels of the model's own view are attacked. In the norm ``l2`` the ball has the radius of an image whose
    pixels all change by epsilon. AutoAttack's entries are stored apart, so that asking for it later does not
    invalidate those of FGSM and PGD.

    Args:
        predictor: the model; its ``unit`` must be differentiable.
        dataset: the images.
        settings: the evaluation settings.
        cache: where finished epsilons are stored.
        reporter: shows progress.

    Returns:
        The accuracies by epsilon, in which images that are wrong without an attack count as wrong, and warnings about
        masked gradients.
    """
    values = predictor.channels * predictor.size**2
    scale = math.sqrt(values) / 255 if settings.norm == "l2" else 1 / 255
    step_size = 2.5 / settings.attack_steps if settings.step_size == "auto" else settings.step_size
    attack = {"norm": settings.norm, "steps": settings.attack_steps, "step_size": step_size}
    attack |= {"restarts": settings.restarts}
    gradient_cache = cache.sub("attacks", {**attack, "seed": settings.seed})
    strong_cache = (
        cache.sub("autoattack", {"norm": settings.norm, "seed": settings.seed}) if settings.autoattack else None
    )
    curve: list[AttackPoint] = []
    warnings: list[str] = []
    total = dataset.count * len(settings.epsilons) * (2 if strong_cache else 1)
    with reporter.bar("attacks", total, "images") as bar:
        for epsilon in settings.epsilons:
            entry = f"epsilon-{epsilon:g}"
            report = gradient_cache.numbers(
                entry, partial(_gradient_attacks, predictor, dataset, settings, epsilon * scale)
            )
            bar.advance(report["count"])
            strong = None
            if strong_cache:
                strong = strong_cache.numbers(
                    entry, partial(_autoattack, predictor, dataset, settings, epsilon * scale)
                )
                bar.advance(strong["count"])
            point = _point(epsilon, report, strong)
            curve.append(point)
            warnings += [*report["warnings"], *(strong["warnings"] if strong else ()), *_warning_of_weakness(point)]
    return AttackResult(
        norm=settings.norm,
        steps=settings.attack_steps,
        step_size=step_size,
        restarts=settings.restarts,
        count=report["count"],
        image=tuple(report["image"]),
        clean=report["clean_accuracy"],
        curve=tuple(curve),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _point(epsilon: float, report: dict[str, Any], strong: dict[str, Any] | None) -> AttackPoint:
    single, many = report["attacks"]
    return AttackPoint(
        epsilon=epsilon,
        fgsm=single["robust_accuracy"],
        fgsm_standard_error=single["robust_accuracy_standard_error"],
        pgd=many["robust_accuracy"],
        pgd_standard_error=many["robust_accuracy_standard_error"],
        autoattack=strong["robust_accuracy"] if strong else None,
        autoattack_standard_error=strong["robust_accuracy_standard_error"] if strong else None,
    )


def _gradient_attacks(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, epsilon: float
) -> dict[str, Any]:
    attacks = [
        fgsm(epsilon, settings.norm),
        pgd(
            epsilon,
            norm=settings.norm,
            steps=settings.attack_steps,
            step_size=None if settings.step_size == "auto" else settings.step_size * epsilon,
            random_start=settings.restarts > 1,
            restarts=settings.restarts,
        ),
    ]
    report = robust_accuracies(predictor.unit, _batches(predictor, dataset), attacks, seed=settings.seed)
    return report.as_json()


def _autoattack(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, epsilon: float
) -> dict[str, Any]:
    batches = _batches(predictor, dataset)
    accuracy = autoattack_accuracy(predictor.unit, batches, norm=settings.norm, epsilon=epsilon, seed=settings.seed)
    return accuracy.as_json()


def _warning_of_weakness(point: AttackPoint) -> list[str]:
    """AutoAttack contains an attack like PGD with more steps, so it should succeed wherever PGD does."""
    if point.autoattack is None or point.autoattack_standard_error is None:
        return []
    if point.autoattack - point.pgd <= point.autoattack_standard_error:
        return []
    return [
        f"At epsilon {point.epsilon:g}/255 AutoAttack leaves {point.autoattack:.4f} right and PGD {point.pgd:.4f}. "
        "AutoAttack should leave no more: one of the two is not to be trusted here."
    ]


def _batches(predictor: Predictor, dataset: EvalDataset) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in dataset.batches(predictor.view, predictor.device):
        labels = torch.from_numpy(batch.labels)
        for first in range(0, len(labels), predictor.batch_size):
            rows = slice(first, first + predictor.batch_size)
            yield batch.views[rows].float() / 255, labels[rows].to(predictor.device)
