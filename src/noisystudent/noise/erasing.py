"""Random erasing: a gray box of random size and shape on some of the images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noisystudent.noise.geometric import fill_box

_SMALLEST_AREA, _LARGEST_AREA = 0.02, 0.4
_WIDEST_ASPECT = 1 / 0.3


def erase(pixels: Tensor, uniforms: Tensor, probability: float) -> Tensor:
    """Fills a random box of some images with gray (Zhong et al., 2020, section 3.2).

    The area is uniform from 2 to 40% of the image, the aspect ratio from 0.3 to 1 / 0.3. Differences from the paper:
    the aspect ratio is log-uniform, and a box that is longer than the image is clipped, not drawn again.

    Args:
        pixels: images, uint8 [B, C, H, W].
        uniforms: random numbers for the choice, area, aspect, top and left, [B, 5] in [0, 1).
        probability: fraction of images with a box.
    """
    height, width = pixels.shape[-2:]
    area = (_SMALLEST_AREA + uniforms[:, 1] * (_LARGEST_AREA - _SMALLEST_AREA)) * height * width
    aspect = torch.exp((2 * uniforms[:, 2] - 1) * math.log(_WIDEST_ASPECT))
    box_height = (area * aspect).sqrt().round().clamp(1, height)
    box_width = (area / aspect).sqrt().round().clamp(1, width)
    top = (uniforms[:, 3] * (height - box_height + 1)).floor()
    left = (uniforms[:, 4] * (width - box_width + 1)).floor()
    chosen = (uniforms[:, 0] < probability).to(box_height.dtype)
    return fill_box(pixels, torch.stack((top, left, box_height * chosen, box_width), dim=1))
