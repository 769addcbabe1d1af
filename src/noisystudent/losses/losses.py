"""Losses as pure functions of tensors, one number per row; the caller averages over rows.

Shapes: student logits [B, K], teacher logits [B, K], target probabilities [B, K], classes [B]; results are [B] unless
the docstring says otherwise. Conventions differ between papers, so every function states its own. Divergences are in
nats and are summed over classes, never averaged; the factor T^2 is included only where the docstring has it. p and q
are the softmax of the student and of the teacher, p_T and q_T the same at temperature T; u is the uniform distribution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from noisystudent.errors import SettingsError


def smoothed_one_hot(classes: Tensor, count: int, smoothing: float) -> Tensor:
    """One-hot targets with label smoothing, float32 [B, K]; rows sum to 1.

    q(k) = (1 - e) [k = y] + e / K (Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7).

    Args:
        classes: class of every row, int64 [B].
        count: number of classes K.
        smoothing: e, the probability mass that is spread evenly over all classes, 0 to below 1.
    """
    return F.one_hot(classes, count).float() * (1 - smoothing) + smoothing / count


def apply_temperature(log_probabilities: Tensor, temperature: float) -> Tensor:
    """Probabilities p^(1/T), renormalized, [B, K]: equal to the softmax at temperature T.

    With log p = z - c, softmax(log p / T) = softmax(z / T), so labels stored at T = 1 serve every temperature
    (Hinton et al. 2015, equation 1).
    """
    return torch.softmax(log_probabilities / temperature, dim=-1)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of every row with its target probabilities, in nats: H(q, p) = -sum_k q_k log p_k."""
    return -(targets * torch.log_softmax(logits.float(), dim=-1)).sum(dim=-1)


def logit_adjustment(shares: Tensor, tau: float) -> Tensor:
    """What to add to the logits in the loss, so that they are those of classes with equal shares: float32 [K].

    tau log(shares); with tau = 1, softmax(logits) without it estimates the probabilities under equal shares (Menon et
    al. 2021, "Long-tail learning via logit adjustment", equation 10).

    Args:
        shares: the share of each class among the training images, 0 to 1, [K]; below 1e-6 it counts as that.
        tau: the strength, 0 or more.
    """
    return tau * torch.log(shares.float().clamp_min(1e-6))


_TINY = 1e-7  # added to a standard deviation, as in the released code of logit standardization


def divergence(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(targets || p_T), the divergence of the student at temperature T from target probabilities [B, K].

    The temperature acts on the student alone.
    """
    log_targets = torch.log(targets.clamp_min(torch.finfo(targets.dtype).tiny))
    log_student = torch.log_softmax(logits.to(targets.dtype) / temperature, dim=-1)
    return (targets * (log_targets - log_student)).sum(dim=-1)


def soft_target_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(q_T || p_T), the soft-target cross entropy of Hinton et al. 2015 (section 2) minus the teacher's entropy.

    The entropy does not depend on the student. The factor T^2 keeps the size of the gradient as T grows: the gradient
    tends to (z - v) / K for student logits z and teacher logits v with mean zero.
    """
    return temperature**2 * divergence(logits, softened(teacher, temperature), temperature)


def softened(logits: Tensor, temperature: float) -> Tensor:
    """The softmax at temperature T > 0 (Hinton et al. 2015, equation 1): [B, K]."""
    return torch.softmax(_at_least_float32(logits) / temperature, dim=-1)


def standardized(logits: Tensor) -> Tensor:
    """Logits scaled to mean 0 and (unbiased) standard deviation 1 per row: [B, K] (Sun et al. 2024, equation 8)."""
    precise = _at_least_float32(logits)
    return (precise - precise.mean(dim=-1, keepdim=True)) / (precise.std(dim=-1, keepdim=True) + _TINY)


def decoupled_loss(
    logits: Tensor, teacher: Tensor, classes: Tensor, *, alpha: float, beta: float, temperature: float
) -> Tensor:
    """T^2 (alpha TCKD + beta NCKD), decoupled distillation (Zhao et al. 2022, equation 7; T^2 as in its code).

    TCKD is the divergence between the two-way probabilities (true class, all other classes), NCKD the divergence
    between the renormalized probabilities of the other classes. KL(q_T || p_T) = TCKD + (1 - q_T(true)) NCKD
    (equation 5).
    """
    target_class, other_classes = decoupled_parts(logits, teacher, classes, temperature)
    return temperature**2 * (alpha * target_class + beta * other_classes)


def decoupled_parts(logits: Tensor, teacher: Tensor, classes: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """TCKD and NCKD of ``decoupled_loss``, without T^2: two tensors [B]."""
    true = F.one_hot(classes, logits.shape[-1]).bool()
    log_student = torch.log_softmax(_at_least_float32(logits) / temperature, dim=-1)
    log_teacher = torch.log_softmax(_at_least_float32(teacher) / temperature, dim=-1)
    target_class = _kl(_two_way(log_teacher, true), _two_way(log_student, true))
    return target_class, _kl(_without_true_class(log_teacher, true), _without_true_class(log_student, true))


def relational_loss(logits: Tensor, teacher: Tensor, *, beta: float, gamma: float, temperature: float) -> Tensor:
    """T^2 (beta (1 - rows) + gamma (1 - columns)), DIST: a scalar.

    ``rows`` is the mean Pearson correlation of the student's and the teacher's probabilities of an image, ``columns``
    that of their probabilities of a class over the batch (Huang et al. 2022, equations 6 to 10; T^2 as in its code).

    Raises:
        SettingsError: there are only two classes; all rows then correlate by 1 or -1.
    """
    if logits.shape[-1] < 3:
        raise SettingsError(
            "DIST compares how classes are ranked, and with 2 classes there is nothing to rank; use another method."
        )
    p, q = softened(logits, temperature), softened(teacher, temperature)
    rows, columns = _pearson(p, q).mean(), _pearson(p.T, q.T).mean()
    return temperature**2 * (beta * (1 - rows) + gamma * (1 - columns))


def confidence_penalty(logits: Tensor) -> Tensor:
    """KL(p || u) = log K - H(p), the penalty on confident predictions (Pereyra et al. 2017, equation 4, plus log K)."""
    log_student = torch.log_softmax(_at_least_float32(logits), dim=-1)
    count = torch.tensor(float(logits.shape[-1]), device=logits.device, dtype=log_student.dtype)
    return (log_student.exp() * log_student).sum(dim=-1) + count.log()


def hard_target_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Cross entropy with the teacher's most probable class (Touvron et al. 2021, DeiT, equation 3, second term)."""
    return F.cross_entropy(_at_least_float32(logits), teacher.argmax(dim=-1), reduction="none")


def virtual_teacher(classes: Tensor, count: int, true_class_probability: float) -> Tensor:
    """Probabilities of a hand-made teacher, float32 [B, K].

    p^d(k) = a where k is the label, (1 - a) / (K - 1) elsewhere (Yuan et al. 2020, equation 9).

    Args:
        classes: class of every row, int64 [B].
        count: number of classes K.
        true_class_probability: a, the probability of the true class, between 0 and 1.
    """
    rest = (1 - true_class_probability) / (count - 1)
    return F.one_hot(classes, count).float() * (true_class_probability - rest) + rest


def arithmetic_mean(teachers: Sequence[Tensor], weights: Sequence[float], temperature: float) -> Tensor:
    """The weighted mean of several teachers' probabilities at a temperature: [B, K].

    Args:
        teachers: logits of every teacher, [B, K].
        weights: one weight per teacher, 0 or more; they are scaled to sum to 1.
        temperature: T of the teachers' softmax.

    Raises:
        SettingsError: a weight is negative, or all weights are 0.
    """
    pairs = zip(_normalized_weights(weights), teachers, strict=True)
    return torch.stack([weight * softened(logits, temperature) for weight, logits in pairs]).sum(dim=0)


def geometric_mean(teachers: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted mean of several teachers' logits: [B, K].

    Its softmax is, at every temperature, the normalized geometric mean of the teachers' probabilities.

    Args:
        teachers: logits of every teacher, [B, K].
        weights: one weight per teacher, 0 or more; they are scaled to sum to 1.

    Raises:
        SettingsError: a weight is negative, or all weights are 0.
    """
    pairs = zip(_normalized_weights(weights), teachers, strict=True)
    return torch.stack([weight * _at_least_float32(logits) for weight, logits in pairs]).sum(dim=0)


def _normalized_weights(weights: Sequence[float]) -> list[float]:
    total = sum(weights)
    if total <= 0 or min(weights) < 0:
        raise SettingsError(f"weights of teachers are {list(weights)}; give numbers of 0 or more that do not sum to 0.")
    return [weight / total for weight in weights]


def _at_least_float32(logits: Tensor) -> Tensor:
    """Logits in float32 or float64: mixed precision computes them in fewer bits."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _two_way(log_probabilities: Tensor, true: Tensor) -> Tensor:
    """Log-probabilities of the true class and of all other classes together: [B, 2]."""
    log_others = log_probabilities.masked_fill(true, -torch.inf).logsumexp(dim=-1)
    return torch.stack([log_probabilities[true], log_others], dim=-1)


def _without_true_class(log_probabilities: Tensor, true: Tensor) -> Tensor:
    """Renormalized log-probabilities of the classes other than the true one: [B, K - 1]."""
    # The true class is removed, not masked: 0 * -inf is not a number.
    return log_probabilities[~true].view(len(true), -1).log_softmax(dim=-1)


def _kl(log_targets: Tensor, log_student: Tensor) -> Tensor:
    return (log_targets.exp() * (log_targets - log_student)).sum(dim=-1)


def _pearson(a: Tensor, b: Tensor) -> Tensor:
    """The correlation of the rows of two matrices: [rows]."""
    centered_a, centered_b = a - a.mean(dim=-1, keepdim=True), b - b.mean(dim=-1, keepdim=True)
    return F.cosine_similarity(centered_a, centered_b, dim=-1, eps=1e-8)
