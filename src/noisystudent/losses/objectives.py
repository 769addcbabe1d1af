"""The objectives (supervised, Noisy Student, distillation): pure functions from logits and targets to loss terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

import torch
from torch import Tensor

from noisystudent.errors import SettingsError
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
from noisystudent.losses.settings import DistillationSettings, LogitMethod, TermMethod, Weighting


@dataclass(frozen=True)
class LossTerms:
    """The loss to minimize and its named terms, for the log; all are scalars on the device."""

    loss: Tensor
    named: dict[str, Tensor]


def supervised(logits: Tensor, targets: Tensor) -> LossTerms:
    """The mean cross entropy of a batch of labeled images.

    Args:
        logits: student logits, [B, K].
        targets: target probabilities, [B, K].
    """
    loss = cross_entropy(logits, targets).mean()
    return LossTerms(loss, {"labeled": loss.detach()})


def noisy_student(logits: Tensor, targets: Tensor, labeled: int, weighting: Weighting) -> LossTerms:
    """The objective of Noisy Student: cross entropy of labeled and of pseudo-labeled images.

    With Ll and Lu the means over the labeled and the pseudo-labeled rows, and r the ratio of their numbers:
    ``concatenated`` is (Ll + r Lu) / (1 + r), the paper's text; ``sum`` is Ll + Lu, its Algorithm 1; ``ratio`` is
    Ll + r Lu, the official code, 1 + r times the first (Xie et al. 2020, and main.py of the release).

    Args:
        logits: student logits, [B, K].
        targets: target probabilities, [B, K], of labels first and then of pseudo labels.
        labeled: number of labeled rows.
        weighting: how the two losses are added up.
    """
    losses = cross_entropy(logits, targets)
    on_labeled, on_pseudo = losses[:labeled].mean(), losses[labeled:].mean()
    ratio = (len(losses) - labeled) / labeled
    match weighting:
        case "sum":
            loss = on_labeled + on_pseudo
        case "ratio":
            loss = on_labeled + ratio * on_pseudo
        case "concatenated":
            loss = (on_labeled + ratio * on_pseudo) / (1 + ratio)
        case _:
            assert_never(weighting)
    return LossTerms(loss, {"labeled": on_labeled.detach(), "pseudo": on_pseudo.detach()})


@dataclass(frozen=True)
class Smoothing:
    """Label smoothing by ``share`` (epsilon), in a loss that is ``scale`` times the cross entropy."""

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
    """The objective of distillation: hard_weight * H(label, p) + soft_weight * the method's term.

    Both are means over the rows on which they act.

    Args:
        logits: student logits, [B, K].
        targets: target probabilities, [B, K]; the first ``labeled`` rows have labels.
        labeled: number of labeled rows.
        teachers: logits of M teachers for the rows that ``settings.rows`` names, [R, M, K]; None for a method without
            a teacher.
        settings: the method, its parameters and the two weights.
        progress: fraction of the training that is done, 0 to 1, for ``settings.warmup``.

    Raises:
        SettingsError: the method needs a teacher and ``teachers`` is None, or it cannot work with so few classes.
    """
    named: dict[str, Tensor] = {}
    loss = logits.new_zeros((), dtype=torch.float32)
    if settings.hard_weight and labeled:
        hard = cross_entropy(logits[:labeled], targets[:labeled]).mean()
        loss, named["hard"] = loss + settings.hard_weight * hard, hard.detach()
    rows = settings.rows(labeled, len(logits))
    if settings.method != "none" and settings.soft_weight and len(logits[rows]):
        soft = _method_term(settings.method, logits[rows], targets[rows], labeled, teachers, settings)
        weight = (
            settings.soft_weight * min(progress / settings.warmup, 1.0) if settings.warmup else settings.soft_weight
        )
        loss, named["soft"] = loss + weight * soft, soft.detach()
    return LossTerms(loss, named)


def combine_teachers(teachers: Tensor, settings: DistillationSettings) -> Tensor:
    """Logits [R, K] of one teacher that stands for an ensemble of M teachers with logits [R, M, K].

    With the arithmetic mean, its softmax at the settings' temperature is the mean of the teachers' softmax at that
    temperature. With the geometric mean, the same holds at every temperature.
    """
    logits = teachers.unbind(dim=1)
    if len(logits) == 1:
        return logits[0]
    weights = settings.weights or (1.0,) * len(logits)
    if settings.mean == "geometric":
        return geometric_mean(logits, weights)
    mean = arithmetic_mean(logits, weights, settings.temperature)
    return settings.temperature * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()


def tempered_virtual_teacher(classes: Tensor, count: int, settings: DistillationSettings) -> Tensor:
    """The targets of Tf-KD reg, [B, K] (Yuan et al. 2020, equations 9 and 10, and its code).

    The paper does not say whether "tempered" means p^(1/T) or softmax(p/T); its code uses softmax(p/T).
    ``settings.tempering`` chooses.
    """
    virtual = virtual_teacher(classes, count, settings.true_class_probability)
    if settings.tempering == "power":
        return apply_temperature(virtual.log(), settings.temperature)
    return torch.softmax(virtual / settings.temperature, dim=-1)


def equivalent_smoothing(settings: DistillationSettings, count: int) -> Smoothing:
    """The label smoothing that gives the same gradient as ``matched_smoothing``, and the scale of that loss.

    hard H(q, p) + soft H(t, p) is (hard + soft) H(q', p) with q' = (hard q + soft t) / (hard + soft). The virtual
    teacher t is the same for all wrong classes, so q' is q with label smoothing.

    Args:
        settings: the settings of the distillation; its method is not read.
        count: number of classes.
    """
    soft = settings.soft_weight / (count if settings.reduction == "elements" else 1)
    virtual_true = float(tempered_virtual_teacher(torch.tensor([0]), count, settings)[0, 0])
    true = (settings.hard_weight + soft * virtual_true) / (settings.hard_weight + soft)
    return Smoothing((1 - true) * count / (count - 1), settings.hard_weight + soft)


def _method_term(
    method: TermMethod,
    logits: Tensor,
    targets: Tensor,
    labeled: int,
    teachers: Tensor | None,
    settings: DistillationSettings,
) -> Tensor:
    """The mean of a method's term over the rows on which it acts: a scalar."""
    match method:
        case "confidence_penalty":
            return confidence_penalty(logits).mean()
        case "virtual_teacher" | "matched_smoothing":
            return _virtual_teacher_term(method, logits, targets, settings)
        case "hard":
            return hard_target_loss(logits, _teacher_of(teachers, settings)).mean()
        case "kd" | "dkd" | "dist" | "standardized_kd":
            teacher = _teacher_of(teachers, settings)
            # The losses include T^2.
            t_squared = 1.0 if settings.scale_by_t_squared else 1.0 / settings.temperature**2
            losses = _logit_losses(method, logits, targets, labeled, teacher, settings)
            return _class_factor(logits, settings) * t_squared * losses.mean()
        case _:
            assert_never(method)


def _teacher_of(teachers: Tensor | None, settings: DistillationSettings) -> Tensor:
    if teachers is None:
        raise SettingsError(
            f"distillation.method {settings.method} needs a teacher, and no teacher logits were given; give teachers, "
            "or choose a method without one."
        )
    return combine_teachers(teachers, settings)


def _class_factor(logits: Tensor, settings: DistillationSettings) -> float:
    """The factor that turns a sum over classes into the reduction of the settings."""
    return 1 / logits.shape[-1] if settings.reduction == "elements" else 1.0


def _virtual_teacher_term(
    method: Literal["virtual_teacher", "matched_smoothing"],
    logits: Tensor,
    targets: Tensor,
    settings: DistillationSettings,
) -> Tensor:
    virtual = tempered_virtual_teacher(targets.argmax(dim=-1), logits.shape[-1], settings)
    factor = _class_factor(logits, settings)
    if method == "matched_smoothing":
        return factor * cross_entropy(logits, virtual).mean()
    t_squared = settings.temperature**2 if settings.scale_by_t_squared else 1.0
    student_temperature = 1.0 if settings.tempering == "released" else settings.temperature
    return factor * t_squared * divergence(logits.float(), virtual, student_temperature).mean()


def _logit_losses(
    method: LogitMethod,
    logits: Tensor,
    targets: Tensor,
    labeled: int,
    teacher: Tensor,
    settings: DistillationSettings,
) -> Tensor:
    """The losses that compare the logits of two networks, with T^2: [R], or a scalar for dist."""
    temperature = settings.temperature
    match method:
        case "kd":
            return soft_target_loss(logits, teacher, temperature)
        case "standardized_kd":
            return soft_target_loss(standardized(logits), standardized(teacher), temperature)
        case "dist":
            return relational_loss(
                logits, teacher, beta=settings.dist_beta, gamma=settings.dist_gamma, temperature=temperature
            )
        case "dkd":
            classes = _classes(targets, teacher, 0 if settings.applies_to == "unlabeled" else labeled)
            return decoupled_loss(
                logits,
                teacher,
                classes,
                alpha=settings.dkd_alpha,
                beta=settings.dkd_beta,
                temperature=temperature,
            )
        case _:
            assert_never(method)


def _classes(targets: Tensor, teacher: Tensor, labeled: int) -> Tensor:
    """The class of every row: the label of the first ``labeled`` rows, the teacher's prediction for the others."""
    return torch.cat([targets[:labeled].argmax(dim=-1), teacher[labeled:].argmax(dim=-1)])
