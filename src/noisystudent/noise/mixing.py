"""Mixup and CutMix: combine pairs of images and their target probabilities."""

from __future__ import annotations

import torch
from scipy.special import betaincinv
from torch import Tensor

from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.geometric import box_mask
from noisystudent.noise.pixels import choose, to_bytes
from noisystudent.noise.settings import NoiseSettings

_DRAWS = 4  # the share, mixup or CutMix, row and column of CutMix's box


class Mixing:
    """Mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019) of every image with a partner.

    The share of an image depends on its own random numbers only, or all images of a step have one share (the released
    code of BiT, Kolesnikov et al. 2020); its partner depends on the batch.

    Args:
        mixup: alpha of the Beta(alpha, alpha) from which mixup draws the image's share; 0 switches mixup off.
        cutmix: the same for CutMix. If both are on, every image gets one of the two with equal probability.
        rng: the random numbers.
        per_step: whether all images of a step have the same share, and the same kind of mixing.
    """

    def __init__(self, *, mixup: float, cutmix: float, rng: CounterRng, per_step: bool = False) -> None:
        assert mixup > 0 or cutmix > 0
        self.mixup, self.cutmix = mixup, cutmix
        self.rng, self.per_step = rng, per_step

    def __call__(
        self, pixels: Tensor, targets: Tensor, partner: Tensor, epoch: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns mixed pixels, uint8 [B, C, H, W], and mixed targets, float32 [B, K].

        Args:
            pixels: images, uint8 [B, C, H, W].
            targets: target probabilities, float32 [B, K].
            partner: row b is mixed with row ``partner[b]``, int64 [B].
            epoch: epoch of every image, int64 [B]; with ``per_step`` as ``step_keys`` says.
            index: index of every image, int64 [B].
        """
        uniforms = self.rng.uniform(epoch, index, _DRAWS).cpu()
        cuts = uniforms[:, 1] < 0.5 if self.mixup and self.cutmix else torch.full((len(pixels),), self.cutmix > 0)
        others = pixels[partner.to(pixels.device)]
        share = _beta(uniforms[:, 0], self.mixup)
        blended = _blend(pixels, others, share)
        share_left = _beta(uniforms[:, 0], self.cutmix)
        boxes = _boxes(1.0 - share_left, uniforms[:, 2:], *pixels.shape[-2:])
        mask = box_mask(boxes, *pixels.shape[-2:]).to(pixels.device)
        pasted = (pixels & ~mask) | (others & mask)
        # The border may clip the box, so the share is computed from the clipped box.
        uncovered = 1.0 - (boxes[:, 2] * boxes[:, 3]).float() / (pixels.shape[-2] * pixels.shape[-1])
        own = torch.where(cuts, uncovered, share).to(targets.device)[:, None]
        return choose(cuts, pasted, blended), own * targets + (1.0 - own) * targets[partner.to(targets.device)]


def step_keys(step: int, images: int) -> tuple[Tensor, Tensor]:
    """The epoch and index, int64 [images] each, from which all images of a step draw the same numbers."""
    return torch.zeros(images, dtype=torch.int64), torch.full((images,), step, dtype=torch.int64)


def build_mixing(settings: NoiseSettings, rng: CounterRng) -> Mixing | None:
    """Returns the mixing of the settings, or None if mixup and CutMix are off."""
    if not settings.mixup and not settings.cutmix:
        return None
    per_step = settings.mixing == "step"
    return Mixing(mixup=settings.mixup, cutmix=settings.cutmix, rng=rng, per_step=per_step)


def partners(counts: list[int]) -> Tensor:
    """Returns a partner for every row of a batch: the next row of the same part, int64 [B].

    Labeled images are mixed with labeled images only, so that every part keeps its weight in the objective.

    Args:
        counts: rows of every part of the batch (labeled, pseudo-labeled).
    """
    starts = torch.tensor([0, *counts]).cumsum(0)
    return torch.cat(
        [start + torch.arange(1, count + 1) % count for start, count in zip(starts.tolist(), counts, strict=False)]
    )


def _beta(uniforms: Tensor, alpha: float) -> Tensor:
    """Turns uniform numbers [B] into draws of Beta(alpha, alpha) by its inverse distribution; ones for alpha 0."""
    if not alpha:
        return torch.ones_like(uniforms)
    return torch.from_numpy(betaincinv(alpha, alpha, uniforms.double().numpy())).float()


def _blend(pixels: Tensor, others: Tensor, share: Tensor) -> Tensor:
    share = share.to(pixels.device)[:, None, None, None]
    return to_bytes((pixels.float() * share).add_(others.float() * (1.0 - share)).add_(0.5))


def _boxes(area: Tensor, centers: Tensor, height: int, width: int) -> Tensor:
    """Boxes (top, left, height, width), int64 [B, 4], of an area fraction around a center, clipped at the border."""
    half_height = area.sqrt() * height / 2
    half_width = area.sqrt() * width / 2
    row, column = centers[:, 0] * height, centers[:, 1] * width
    top, bottom = (row - half_height).round().clamp(0, height), (row + half_height).round().clamp(0, height)
    left, right = (column - half_width).round().clamp(0, width), (column + half_width).round().clamp(0, width)
    return torch.stack((top, left, bottom - top, right - left), dim=1).to(torch.int64)
