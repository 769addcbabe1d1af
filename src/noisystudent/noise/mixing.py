"""Mixup and CutMix: two images become one, and so do their target probabilities."""

from __future__ import annotations

import torch
from scipy.special import betaincinv
from torch import Tensor

from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.geometric import box_mask
from noisystudent.noise.pixels import choose, to_bytes
from noisystudent.noise.settings import NoiseSettings

_DRAWS = 4  # share, which of the two, row and column of CutMix's box


class Mixing:
    """Mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019) of each image with a partner.

    ``mixup`` and ``cutmix`` are the parameters alpha of the Beta(alpha, alpha) from which the image's own share is
    drawn; 0 switches that one off. With both, either has an even chance for each image. The share depends on the
    image's own draws alone, the partner on the batch.
    """

    def __init__(self, *, mixup: float, cutmix: float, rng: CounterRng) -> None:
        assert mixup > 0 or cutmix > 0
        self.mixup, self.cutmix = mixup, cutmix
        self.rng = rng

    def __call__(
        self, pixels: Tensor, targets: Tensor, partner: Tensor, epoch: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mixed pixels uint8 [B, C, H, W] and targets float32 [B, K]; row b is mixed with row ``partner[b]``."""
        uniforms = self.rng.uniform(epoch, index, _DRAWS).cpu()
        cuts = uniforms[:, 1] < 0.5 if self.mixup and self.cutmix else torch.full((len(pixels),), self.cutmix > 0)
        others = pixels[partner.to(pixels.device)]
        share = _beta(uniforms[:, 0], self.mixup)
        blended = _blend(pixels, others, share)
        share_left = _beta(uniforms[:, 0], self.cutmix)
        boxes = _boxes(1.0 - share_left, uniforms[:, 2:], *pixels.shape[-2:])
        mask = box_mask(boxes, *pixels.shape[-2:]).to(pixels.device)
        pasted = (pixels & ~mask) | (others & mask)
        # The border may cut the box, so its share is counted anew.
        kept = 1.0 - (boxes[:, 2] * boxes[:, 3]).float() / (pixels.shape[-2] * pixels.shape[-1])
        own = torch.where(cuts, kept, share).to(targets.device)[:, None]
        return choose(cuts, pasted, blended), own * targets + (1.0 - own) * targets[partner.to(targets.device)]


def build_mixing(settings: NoiseSettings, rng: CounterRng) -> Mixing | None:
    """The mixing that the settings ask for, or None."""
    if not settings.mixup and not settings.cutmix:
        return None
    return Mixing(mixup=settings.mixup, cutmix=settings.cutmix, rng=rng)


def partners(counts: list[int]) -> Tensor:
    """A partner for every row of a batch made of parts with these counts: the next row of its own part, int64 [B].

    Labeled images are mixed with labeled ones only, so that each part keeps its weight in the objective.
    """
    starts = torch.tensor([0, *counts]).cumsum(0)
    return torch.cat(
        [start + torch.arange(1, count + 1) % count for start, count in zip(starts.tolist(), counts, strict=False)]
    )


def _beta(uniforms: Tensor, alpha: float) -> Tensor:
    """Uniform numbers [B] as draws of Beta(alpha, alpha), by its inverse distribution; ones for alpha 0."""
    if not alpha:
        return torch.ones_like(uniforms)
    return torch.from_numpy(betaincinv(alpha, alpha, uniforms.double().numpy())).float()


def _blend(pixels: Tensor, others: Tensor, share: Tensor) -> Tensor:
    share = share.to(pixels.device)[:, None, None, None]
    return to_bytes((pixels.float() * share).add_(others.float() * (1.0 - share)).add_(0.5))


def _boxes(area: Tensor, places: Tensor, height: int, width: int) -> Tensor:
    """Boxes (top, left, height, width), int64 [B, 4], of this area around a place, cut at the border."""
    half_height = area.sqrt() * height / 2
    half_width = area.sqrt() * width / 2
    row, column = places[:, 0] * height, places[:, 1] * width
    top, bottom = (row - half_height).round().clamp(0, height), (row + half_height).round().clamp(0, height)
    left, right = (column - half_width).round().clamp(0, width), (column + half_width).round().clamp(0, width)
    return torch.stack((top, left, bottom - top, right - left), dim=1).to(torch.int64)
