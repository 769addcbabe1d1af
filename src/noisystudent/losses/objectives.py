"""The objectives: supervised, Noisy Student, and distillation, as pure functions of logits and targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from noisystudent.losses.losses import (
    apply_temperature,
    arithmetic_mean,
    confidence_penalty,
    cross_entropy,
    decoupled_loss,
    divergence,
    geometric_mean,
    hard_target_loss,
    relational_loss,
    soft_target_loss,
    standardized,
    virtual_teacher,
)
from noisystudent.losses.settings import DistillationSettings, Weighting


@dataclass(frozen=True)
class LossTerms:
    """The loss to minimize and the named numbers it is made of; all are scalars on the device."""

    loss: Tensor
    named: dict[str, Tensor]


def supervised(logits: Tensor, targets: Tensor) -> LossTerms:
    """Mean cross entropy over a batch of labeled images; logits and targets [B, K]."""
    loss = cross_entropy(logits, targets).mean()
    return LossTerms(loss, {"labeled": loss.detach()})


def noisy_student(logits: Tensor, targets: Tensor, labeled: int, weighting: Weighting) -> LossTerms:
    """Cross entropy on a batch whose first ``labeled`` rows have true labels and whose others have pseudo labels.

    With Ll and Lu the means over the two parts and r the ratio of their sizes:
    ``concatenated`` is (Ll + r Lu) / (1 + r), the paper's text; ``sum`` is Ll + Lu, its Algorithm 1; ``ratio`` is
    Ll + r Lu, the official code, 1 + r times the first (Xie et al. 2020, and main.py of the release).
    """
    each = cross_entropy(logits, targets)
    on_labeled, on_pseudo = each[:labeled].mean(), each[labeled:].mean()
    ratio = (len(each) - labeled) / labeled
    if weighting == "sum":
        loss = on_labeled + on_pseudo
    else:
        loss = on_labeled + ratio * on_pseudo
        if weighting == "concatenated":
            loss = loss / (1 + ratio)
    return LossTerms(loss, {"labeled": on_labeled.detach(), "pseudo": on_pseudo.detach()})


@dataclass(frozen=True)
class Smoothing:
    """Label smoothing by ``share`` (epsilon) in a loss that is ``scale`` times the cross entropy."""

    share: float
    scale: float


def distillation_objective(
    logits: Tensor,
    targets: Tensor,
    labeled: int,
    teachers: Tensor | None,
    settings: DistillationSettings,
    *,
    progress: float = 1.0,
) -> LossTerms:
    """Hard * H(label, p) + soft * the method's term, each the mean over the rows on which it acts.

    Logits and targets are [B, K], of which the first ``labeled`` rows have labels. ``teachers`` are the logits of M
    teachers for the rows that ``settings.rows`` names, [R, M, K], or None for methods without one. ``progress`` is the
    share of the training that is done, for ``settings.warmup``.
    """
    named: dict[str, Tensor] = {}
    loss = logits.new_zeros((), dtype=torch.float32)
    if settings.hard_weight and labeled:
        hard = cross_entropy(logits[:labeled], targets[:labeled]).mean()
        loss, named["hard"] = loss + settings.hard_weight * hard, hard.detach()
    rows = settings.rows(labeled, len(logits))
    if settings.method != "none" and settings.soft_weight and len(logits[rows]):
        soft = _term(logits[rows], targets[rows], labeled, teachers, settings)
        weight = (
            settings.soft_weight * min(progress / settings.warmup, 1.0) if settings.warmup else settings.soft_weight
        )
        loss, named["soft"] = loss + weight * soft, soft.detach()
    return LossTerms(loss, named)


def merged(teachers: Tensor, settings: DistillationSettings) -> Tensor:
    """One teacher's logits [R, K] that stand for several's [R, M, K], of equal or the settings' weights.

    For the arithmetic mean their softmax at the settings' temperature is the mean of the teachers' at that
    temperature; for the geometric mean it is theirs at every temperature.
    """
    each = teachers.unbind(dim=1)
    if len(each) == 1:
        return each[0]
    weights = settings.weights or (1.0,) * len(each)
    if settings.mean == "geometric":
        return geometric_mean(each, weights)
    mean = arithmetic_mean(each, weights, settings.temperature)
    return settings.temperature * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()


def tempered_virtual_teacher(classes: Tensor, count: int, settings: DistillationSettings) -> Tensor:
    """The targets of Tf-KD reg by the settings' reading, [B, K] (Yuan et al. 2020, equations 9 and 10, and its code).

    Whether "tempered" means p^(1/T) or softmax(p/T) the paper leaves open; its code takes the second.
    """
    virtual = virtual_teacher(classes, count, settings.true_class_probability)
    if settings.tempering == "power":
        return apply_temperature(virtual.log(), settings.temperature)
    return torch.softmax(virtual / settings.temperature, dim=-1)


def equivalent_smoothing(settings: DistillationSettings, count: int) -> Smoothing:
    """The label smoothing, and the scale of the loss, that ``matched_smoothing`` comes to for ``count`` classes.

    hard H(q, p) + soft H(t, p) is (hard + soft) H(q', p) with q' = (hard q + soft t) / (hard + soft), and q' is q
    smoothed, since the virtual teacher t is the same for all wrong classes.
    """
    soft = settings.soft_weight / (count if settings.reduction == "elements" else 1)
    true = float(tempered_virtual_teacher(torch.tensor([0]), count, settings)[0, 0])
    kept = (settings.hard_weight + soft * true) / (settings.hard_weight + soft)
    return Smoothing((1 - kept) * count / (count - 1), settings.hard_weight + soft)


def _term(
    logits: Tensor, targets: Tensor, labeled: int, teachers: Tensor | None, settings: DistillationSettings
) -> Tensor:
    """The method's term on the rows on which it acts: a scalar."""
    count = logits.shape[-1]
    if settings.method == "confidence_penalty":
        return confidence_penalty(logits).mean()
    squared = settings.temperature**2 if settings.scale_by_t_squared else 1.0
    each = 1 / count if settings.reduction == "elements" else 1.0
    if teachers is None:
        virtual = tempered_virtual_teacher(targets.argmax(dim=-1), count, settings)
        if settings.method == "matched_smoothing":
            return each * cross_entropy(logits, virtual).mean()
        student_temperature = 1.0 if settings.tempering == "released" else settings.temperature
        return each * squared * divergence(logits.float(), virtual, student_temperature).mean()
    teacher = merged(teachers, settings)
    if settings.method == "hard":
        return hard_target_loss(logits, teacher).mean()
    unsquared = squared / settings.temperature**2  # the losses below have the factor
    return each * unsquared * _from_teacher(logits, targets, labeled, teacher, settings).mean()


def _from_teacher(
    logits: Tensor, targets: Tensor, labeled: int, teacher: Tensor, settings: DistillationSettings
) -> Tensor:
    """The losses that compare two nets' logits, with T^2: [R], or a scalar."""
    temperature = settings.temperature
    match settings.method:
        case "kd":
            return soft_target_loss(logits, teacher, temperature)
        case "standardized_kd":
            return soft_target_loss(standardized(logits), standardized(teacher), temperature)
        case "dist":
            return relational_loss(
                logits, teacher, beta=settings.dist_beta, gamma=settings.dist_gamma, temperature=temperature
            )
        case _:
            classes = _classes(targets, teacher, 0 if settings.applies_to == "unlabeled" else labeled)
            return decoupled_loss(
                logits,
                teacher,
                classes,
                alpha=settings.dkd_alpha,
                beta=settings.dkd_beta,
                temperature=temperature,
            )


def _classes(targets: Tensor, teacher: Tensor, labeled: int) -> Tensor:
    """The class of each row: its label for the first ``labeled`` ones, the teacher's choice for the others."""
    return torch.cat([targets[:labeled].argmax(dim=-1), teacher[labeled:].argmax(dim=-1)])
