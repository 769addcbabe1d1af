"""Accuracy under FGSM, PGD and, where it is asked for, AutoAttack, over several epsilons."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from noisystudent.evaluation.adversarial.attacks import fgsm, pgd
from noisystudent.evaluation.adversarial.autoattack import autoattack_accuracy
from noisystudent.evaluation.adversarial.robust_accuracy import robust_accuracies
from noisystudent.evaluation.eval_dataset import EvalDataset
from noisystudent.evaluation.results_cache import ResultCache
from noisystudent.evaluation.settings import EvaluationSettings
from noisystudent.models.predictor import Predictor
from noisystudent.runtime.progress import Reporter


def measure_attacks(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, cache: ResultCache, reporter: Reporter
) -> dict[str, Any]:
    """Accuracy under the attacks at each epsilon, and the warnings of masked gradients.

    Pixels are those of the subject's own view; images that are wrong already count as wrong. ``epsilon`` is in steps
    of 255; in the norm ``l2`` a ball has the radius of pixels that all move by that. ``step_size``, PGD's, is in
    epsilons. AutoAttack's pieces lie apart, so that asking for it leaves those of FGSM and PGD as they are.
    """
    values = predictor.channels * predictor.size**2
    scale = math.sqrt(values) / 255 if settings.norm == "l2" else 1 / 255
    step_size = 2.5 / settings.attack_steps if settings.step_size == "auto" else settings.step_size
    how = {"norm": settings.norm, "steps": settings.attack_steps, "step_size": step_size}
    how |= {"restarts": settings.restarts}
    sub = cache.sub("attacks", {**how, "seed": settings.seed})
    beside = {"norm": settings.norm, "seed": settings.seed}
    strong = cache.sub("autoattack", beside) if settings.autoattack else None
    curve, warnings = [], []
    total = dataset.count * len(settings.epsilons) * (2 if strong else 1)
    with reporter.bar("attacks", total, "images") as bar:
        for epsilon in settings.epsilons:
            entry = f"epsilon-{epsilon:g}"
            told = sub.numbers(entry, partial(_at, predictor, dataset, settings, epsilon * scale))
            bar.advance(told["count"])
            single, many = told["attacks"]
            row = {"epsilon": epsilon, **_named("fgsm", single), **_named("pgd", many)}
            found = list(told["warnings"])
            if strong:
                worst = strong.numbers(entry, partial(_at_worst, predictor, dataset, settings, epsilon * scale))
                bar.advance(worst["count"])
                row |= _named("autoattack", worst)
                found += worst["warnings"] + _warning_of_weakness(row)
            curve.append(row)
            warnings += [each for each in found if each not in warnings]
    return {
        **how,
        "count": told["count"],
        "image": told["image"],
        "clean": told["clean_accuracy"],
        "curve": curve,
        "warnings": warnings,
    }


def _named(name: str, outcome: dict[str, Any]) -> dict[str, float]:
    return {
        name: outcome["robust_accuracy"],
        f"{name}_standard_error": outcome["robust_accuracy_standard_error"],
    }


def _at(predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, epsilon: float) -> dict[str, Any]:
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


def _at_worst(
    predictor: Predictor, dataset: EvalDataset, settings: EvaluationSettings, epsilon: float
) -> dict[str, Any]:
    batches = _batches(predictor, dataset)
    found = autoattack_accuracy(predictor.unit, batches, norm=settings.norm, epsilon=epsilon, seed=settings.seed)
    return found.as_json()


def _warning_of_weakness(row: dict[str, float]) -> list[str]:
    """AutoAttack holds an attack of PGD's kind with more steps, so it should find whatever PGD finds."""
    if row["autoattack"] - row["pgd"] <= row["autoattack_standard_error"]:
        return []
    return [
        f"At epsilon {row['epsilon']:g}/255 AutoAttack leaves {row['autoattack']:.4f} right and PGD {row['pgd']:.4f}. "
        "AutoAttack should leave no more: one of the two is not to be trusted here."
    ]


def _batches(predictor: Predictor, dataset: EvalDataset) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in dataset.batches(predictor.size, predictor.device):
        labels = torch.from_numpy(batch.labels)
        for first in range(0, len(labels), predictor.batch_size):
            some = slice(first, first + predictor.batch_size)
            yield batch.views[some].float() / 255, labels[some].to(predictor.device)
