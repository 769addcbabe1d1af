"""Losses as pure functions of tensors. Shapes: logits and target probabilities [B, K], classes [B].

Losses of knowledge distillation, one number a row, so that whoever calls decides how rows are averaged.

Shapes: logits [B, K] of the student, teacher logits [B, K], classes [B]; results [B] unless said otherwise. Conventions
differ from paper to paper and from code to code, so each function says its own: divergences are summed over classes
(never averaged over them), in nats, and the factor T^2 is there only where the docstring has it. p and q are the
student's and the teacher's softmax, with an index T at temperature T; u is the uniform distribution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from noisystudent.errors import SettingsError


def smoothed_one_hot(classes: Tensor, count: int, smoothing: float) -> Tensor:
    """One-hot targets with ``smoothing`` spread evenly over all ``count`` classes: float32 [B, K], rows sum to 1.

    q(k) = (1 - e) [k = y] + e / K (Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7).
    """
    return F.one_hot(classes, count).float() * (1 - smoothing) + smoothing / count


def apply_temperature(log_probabilities: Tensor, temperature: float) -> Tensor:
    """Probabilities raised to 1/T and renormalized: what a softmax at temperature T would have given, [B, K].

    With log p = z - c, softmax(log p / T) = softmax(z / T), so stored T = 1 labels serve every temperature
    (Hinton et al. 2015, equation 1).
    """
    return torch.softmax(log_probabilities / temperature, dim=-1)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of every row against its target probabilities, in nats: [B]. H(q, p) = -sum_k q_k log p_k."""
    return -(targets * torch.log_softmax(logits.float(), dim=-1)).sum(dim=-1)


_TINY = 1e-7  # of a standard deviation, as in the released code of logit standardization


def divergence(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(targets || p_T): how far the student at a temperature is from probabilities [B, K], taken as they are."""
    log_targets = torch.log(targets.clamp_min(torch.finfo(targets.dtype).tiny))
    log_student = torch.log_softmax(logits.to(targets.dtype) / temperature, dim=-1)
    return (targets * (log_targets - log_student)).sum(dim=-1)


def soft_target_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(q_T || p_T), the soft part of Hinton et al. 2015 (section 2) less the teacher's entropy, a constant.

    With T^2 its gradient keeps its size as T grows: it tends to (z - v) / K for logits z, v with mean zero.
    """
    return temperature**2 * divergence(logits, softened(teacher, temperature), temperature)


def softened(logits: Tensor, temperature: float) -> Tensor:
    """The softmax at temperature T > 0 (Hinton et al. 2015, equation 1): [B, K]."""
    return torch.softmax(_wide(logits) / temperature, dim=-1)


def standardized(logits: Tensor) -> Tensor:
    """Logits of each row with mean 0 and (unbiased) standard deviation 1: [B, K] (Sun et al. 2024, equation 8)."""
    wide = _wide(logits)
    return (wide - wide.mean(dim=-1, keepdim=True)) / (wide.std(dim=-1, keepdim=True) + _TINY)


def decoupled_loss(
    logits: Tensor, teacher: Tensor, classes: Tensor, *, alpha: float, beta: float, temperature: float
) -> Tensor:
    """T^2 (alpha TCKD + beta NCKD), the decoupled distillation of Zhao et al. 2022 (equation 7, T^2 as in its code).

    TCKD is the KL between the two-way probabilities (true class, all others), NCKD the KL between the probabilities of
    the other classes, renormalized. KL(q_T || p_T) = TCKD + (1 - q_T(true)) NCKD (equation 5).
    """
    target, other = decoupled_parts(logits, teacher, classes, temperature)
    return temperature**2 * (alpha * target + beta * other)


def decoupled_parts(logits: Tensor, teacher: Tensor, classes: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """TCKD and NCKD of ``decoupled_loss``, without T^2."""
    true = F.one_hot(classes, logits.shape[-1]).bool()
    student, taught = (torch.log_softmax(_wide(each) / temperature, dim=-1) for each in (logits, teacher))
    two_way = [torch.stack([each[true], _log_of_others(each, true)], dim=-1) for each in (student, taught)]
    target = _kl(two_way[1], two_way[0])
    # Of the true class nothing must be left, and 0 * -inf would be no number.
    others = [each[~true].view(len(classes), -1).log_softmax(dim=-1) for each in (student, taught)]
    return target, _kl(others[1], others[0])


def relational_loss(logits: Tensor, teacher: Tensor, *, beta: float, gamma: float, temperature: float) -> Tensor:
    """T^2 (beta (1 - rows) + gamma (1 - columns)), DIST (Huang et al. 2022, equations 6 to 10, T^2 as in its code).

    ``rows`` is the mean Pearson correlation between the two nets' probabilities of an image, ``columns`` that between
    their probabilities of a class over the batch: a scalar. Raises ``SettingsError`` for two classes, where all rows
    correlate by 1 or -1.
    """
    if logits.shape[-1] < 3:
        raise SettingsError(
            "DIST compares how classes are ranked, and with 2 classes there is nothing to rank; use another method."
        )
    student, taught = softened(logits, temperature), softened(teacher, temperature)
    rows, columns = _pearson(student, taught).mean(), _pearson(student.T, taught.T).mean()
    return temperature**2 * (beta * (1 - rows) + gamma * (1 - columns))


def confidence_penalty(logits: Tensor) -> Tensor:
    """KL(p || u) = log K - H(p): what a confident student is charged (Pereyra et al. 2017, equation 4, plus log K)."""
    log_student = torch.log_softmax(_wide(logits), dim=-1)
    count = torch.tensor(float(logits.shape[-1]), device=logits.device, dtype=log_student.dtype)
    return (log_student.exp() * log_student).sum(dim=-1) + count.log()


def hard_target_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """H(the teacher's first choice, p), hard distillation (Touvron et al. 2021, DeiT, equation 3, second term)."""
    return F.cross_entropy(_wide(logits), teacher.argmax(dim=-1), reduction="none")


def virtual_teacher(classes: Tensor, count: int, correct: float) -> Tensor:
    """A teacher made by hand: ``correct`` on the true class, the rest spread over the others, [B, K].

    p^d(k) = a where k is the label, (1 - a) / (K - 1) elsewhere (Yuan et al. 2020, equation 9).
    """
    rest = (1 - correct) / (count - 1)
    return F.one_hot(classes, count).float() * (correct - rest) + rest


def arithmetic_mean(teachers: Sequence[Tensor], weights: Sequence[float], temperature: float) -> Tensor:
    """The weighted mean of several teachers' probabilities at a temperature, from their logits: [B, K]."""
    shares = _shares(weights)
    return torch.stack([w * softened(each, temperature) for w, each in zip(shares, teachers, strict=True)]).sum(dim=0)


def geometric_mean(teachers: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Logits whose softmax, at every temperature, is the weighted geometric mean of the teachers', normalized: [B, K].

    They are the weighted mean of the teachers' logits.
    """
    return torch.stack([w * _wide(each) for w, each in zip(_shares(weights), teachers, strict=True)]).sum(dim=0)


def _shares(weights: Sequence[float]) -> list[float]:
    total = sum(weights)
    if total <= 0 or min(weights) < 0:
        raise SettingsError(f"weights of teachers are {list(weights)}; give numbers from 0 that do not sum to 0.")
    return [weight / total for weight in weights]


def _wide(logits: Tensor) -> Tensor:
    """Logits in at least float32: mixed precision gives them in less."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _log_of_others(log_probabilities: Tensor, true: Tensor) -> Tensor:
    """The logarithm of the probability of all classes but the true one: [B]."""
    return log_probabilities.masked_fill(true, -torch.inf).logsumexp(dim=-1)


def _kl(log_targets: Tensor, log_student: Tensor) -> Tensor:
    return (log_targets.exp() * (log_targets - log_student)).sum(dim=-1)


def _pearson(one: Tensor, other: Tensor) -> Tensor:
    """The correlation of the rows of two matrices: [rows]."""
    one, other = (each - each.mean(dim=-1, keepdim=True) for each in (one, other))
    return F.cosine_similarity(one, other, dim=-1, eps=1e-8)
