"""The corruptions of kind weather that need nothing from outside: snow, fog and brightness.

Every function takes ``uint8 [B, C, S, S]``, where it is random the images' numbers, and the parameters of a severity
in the order of the published tables; it returns a new tensor of the same shape.
"""

from __future__ import annotations

import torch
from torch import Tensor

from noisystudent.evaluation.corruptions.filters.blur import enlarged, kept_by_zoom
from noisystudent.evaluation.corruptions.filters.levels import cut_off, gray, rounded
from noisystudent.evaluation.corruptions.filters.motion import blurred_along
from noisystudent.evaluation.corruptions.filters.planes import as_channels, from_channels
from noisystudent.evaluation.corruptions.filters.random_fields import RandomFields

_FIRST_WIBBLE = 100.0


def snow(
    pixels: Tensor,
    fields: RandomFields,
    location: float,
    scale: float,
    zoom: float,
    threshold: float,
    radius: float,
    sigma: float,
    kept: float,
) -> Tensor:
    """Whiten the image and let flakes fall over it, once as drawn and once turned by 180 degrees.

    Flakes are normal noise (``location``, ``scale``) enlarged by ``zoom``, of which what is below ``threshold`` is
    dropped, blurred along an angle between -135 and -45 degrees (``radius``, ``sigma``); ``kept`` is the weight of the
    image against the whitened one.
    """
    size = pixels.shape[-1]
    cut = kept_by_zoom(size, zoom)  # the enlargement shows no more of the noise than that
    noise = fields.normal(1, cut, cut, first=1).mul_(scale).add_(location)
    layer = from_channels(enlarged(as_channels(noise), zoom, size), pixels[:, :1].shape)
    flakes = cut_off(layer.where(layer >= threshold, 0.0).mul(255.0))
    drawn = fields.uniform(1).squeeze(1)
    blurred = blurred_along(flakes.to(torch.float32), drawn, (-135.0, -45.0), radius=radius, sigma=sigma)
    falling = rounded(blurred).to(torch.float32)
    values = pixels.to(torch.float32)
    white = gray(values).mul(1.5).add_(127.5).maximum(values)
    return cut_off(values.mul_(kept).add_(white, alpha=1.0 - kept).add_(falling).add_(falling.rot90(2, (2, 3))))


def fog(pixels: Tensor, fields: RandomFields, strength: float, decay: float) -> Tensor:
    """Lay ``strength`` times a cloud over the image, then darken all to the image's own maximum.

    The cloud is a plasma fractal of ``decay`` on the smallest power of two that covers the image, as published for
    each of the four sizes (32, 64, 256 and 512).
    """
    size = pixels.shape[-1]
    cloud = plasma(fields, 1 << (size - 1).bit_length(), decay)[:, None, :size, :size]
    brightest = pixels.amax(dim=(1, 2, 3), keepdim=True).to(torch.float32)
    foggy = cloud.mul(255.0 * strength).add(pixels)
    return cut_off(foggy.mul_(brightest / (brightest + 255.0 * strength)))


def plasma(fields: RandomFields, size: int, decay: float) -> Tensor:
    """Clouds between 0 and 1, float32 ``[B, size, size]``, by the diamond-square algorithm on a torus.

    ``size`` is a power of two. A new point is the mean of the four around it plus a number drawn from between plus and
    minus the square of the wibble, which starts at 100 and is divided by ``decay`` from scale to scale.
    """
    drawn = fields.uniform(size * size - 1).mul_(2.0).sub_(1.0)
    heights = drawn.new_zeros((len(drawn), size, size))
    step, wibble, used = size, _FIRST_WIBBLE, 0
    while step >= 2:
        half, count = step // 2, (size // step) ** 2
        reach = wibble * wibble
        noise = drawn[:, used : used + 3 * count].mul(reach).view(-1, 3, size // step, size // step)
        corners = heights[:, ::step, ::step]
        below = corners + corners.roll(-1, 1)
        centers = (below + below.roll(-1, 2)).div_(4.0).add_(noise[:, 0])
        heights[:, half::step, half::step] = centers
        across, along = corners + corners.roll(-1, 2), corners + corners.roll(-1, 1)
        heights[:, ::step, half::step] = (centers + centers.roll(1, 1)).add_(across).div_(4.0).add_(noise[:, 1])
        heights[:, half::step, ::step] = (centers + centers.roll(1, 2)).add_(along).div_(4.0).add_(noise[:, 2])
        step, wibble, used = half, wibble / decay, used + 3 * count
    lowest = heights.amin(dim=(1, 2), keepdim=True)
    return (heights - lowest).div_(heights.amax(dim=(1, 2), keepdim=True) - lowest)


def brightness(pixels: Tensor, addition: float) -> Tensor:
    """Add ``addition`` to the value of hue, saturation and value: the brightest channel gets it, up to white.

    Hue and saturation are ratios of the channels, so the others grow by the same factor; black becomes gray.
    """
    values = pixels.to(torch.float32)
    brightest = values.amax(dim=1, keepdim=True)
    raised = (brightest + 255.0 * addition).clamp_(max=255.0)
    lit = values.mul_(raised / brightest.clamp(min=1.0))
    return cut_off(torch.where(brightest > 0, lit, raised))
