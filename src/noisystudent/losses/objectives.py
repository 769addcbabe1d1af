"""The objective of Noisy Student training: labeled and pseudo-labeled terms, in the literature's three weightings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from noisystudent.losses.losses import cross_entropy
from noisystudent.losses.settings import Weighting


@dataclass(frozen=True)
class Terms:
    """The loss to minimize and the named numbers it is made of; all are scalars on the device."""

    loss: Tensor
    named: dict[str, Tensor]


def supervised(logits: Tensor, targets: Tensor) -> Terms:
    """Mean cross entropy over a batch of labeled pictures; logits and targets [B, K]."""
    loss = cross_entropy(logits, targets).mean()
    return Terms(loss, {"labeled": loss.detach()})


def noisy_student(logits: Tensor, targets: Tensor, labeled: int, weighting: Weighting) -> Terms:
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
    return Terms(loss, {"labeled": on_labeled.detach(), "pseudo": on_pseudo.detach()})
