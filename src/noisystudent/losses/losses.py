"""Losses as pure functions of tensors. Shapes: logits and target probabilities [B, K], classes [B]."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def smoothed_one_hot(classes: Tensor, count: int, smoothing: float) -> Tensor:
    """One-hot targets with ``smoothing`` spread evenly over all ``count`` classes: float32 [B, K], rows sum to 1.

    q(k) = (1 - e) [k = y] + e / K (Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7).
    """
    return F.one_hot(classes, count).float() * (1 - smoothing) + smoothing / count


def retempered(log_probabilities: Tensor, temperature: float) -> Tensor:
    """Probabilities raised to 1/T and renormalized: what a softmax at temperature T would have given, [B, K].

    With log p = z - c, softmax(log p / T) = softmax(z / T), so stored T = 1 labels serve every temperature
    (Hinton et al. 2015, equation 1).
    """
    return torch.softmax(log_probabilities / temperature, dim=-1)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of every row against its target probabilities, in nats: [B]. H(q, p) = -sum_k q_k log p_k."""
    return -(targets * torch.log_softmax(logits.float(), dim=-1)).sum(dim=-1)
