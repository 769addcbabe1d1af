"""The contrastive loss of SimCLR: two views of an image attract each other, and all other views repel them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The normalized temperature-scaled cross entropy of pairs of views, averaged over all views: a scalar.

    With unit vectors u, the loss of a view i whose image has the other view j is
    -log(exp(u_i u_j / T) / sum over k != i of exp(u_i u_k / T)) (Chen et al. 2020, equation 1). The released code
    returns twice this mean.

    Args:
        first: the first views of N images, float [N, D], of any length above 0; N is at least 2.
        second: their second views, in the same order.
        temperature: T, above 0.
    """
    both = torch.cat([first, second])
    unit = F.normalize(both.to(torch.promote_types(both.dtype, torch.float32)), dim=1)
    similarity = unit @ unit.T / temperature
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    similarity = similarity.masked_fill(itself, -torch.inf)
    partners = torch.arange(len(unit), device=unit.device).roll(len(first))
    return F.cross_entropy(similarity, partners)


def spread_of(vectors: Tensor) -> Tensor:
    """How widely the directions of N vectors [N, D] are spread: 1 if they are evenly, 0 if they are all the same.

    That is the standard deviation of each coordinate of the unit vectors, averaged, times the root of D (Chen and He
    2021, section 4.1, who watch it for collapse).
    """
    unit = F.normalize(vectors.float(), dim=1)
    spread: Tensor = unit.std(dim=0, unbiased=False).mean() * unit.shape[1] ** 0.5
    return spread
