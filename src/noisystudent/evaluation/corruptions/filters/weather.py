"""The weather corruptions that need no textures: snow, fog and brightness.

Every function takes ``uint8 [B, C, S, S]``, the images' random numbers if it is random, and the parameters of one
severity in the order of the published tables; it returns a new tensor of the same shape.
"""

from __future__ import annotations

import torch
from torch import Tensor

from noisystudent.evaluation.corruptions.filters.blur import enlarge, visible_size
from noisystudent.evaluation.corruptions.filters.levels import round_to_uint8, to_gray, truncate_to_uint8
from noisystudent.evaluation.corruptions.filters.motion import blur_along
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
    image_weight: float,
) -> Tensor:
    """Whitens the image and adds falling flakes, once as generated and once rotated by 180 degrees.

    Args:
        pixels: uint8 ``[B, C, S, S]``.
        fields: the images' random numbers.
        location: mean of the normal noise that becomes flakes.
        scale: standard deviation of the noise.
        zoom: factor by which the noise is enlarged.
        threshold: flakes are where the noise is above it.
        radius: radius of the motion blur, at a random angle between -135 and -45 degrees.
        sigma: standard deviation of the motion blur, in pixels.
        image_weight: weight of the image against the whitened image.

    Returns:
        The images with snow, as ``pixels``.
    """
    size = pixels.shape[-1]
    cut = visible_size(size, zoom)  # the enlargement shows only this much of the noise
    noise = fields.normal(1, cut, cut, first=1).mul_(scale).add_(location)
    layer = from_channels(enlarge(as_channels(noise), zoom, size), pixels[:, :1].shape)
    flakes = truncate_to_uint8(layer.where(layer >= threshold, 0.0).mul(255.0))
    drawn = fields.uniform(1).squeeze(1)
    blurred = blur_along(flakes.to(torch.float32), drawn, (-135.0, -45.0), radius=radius, sigma=sigma)
    falling = round_to_uint8(blurred).to(torch.float32)
    values = pixels.to(torch.float32)
    white = to_gray(values).mul(1.5).add_(127.5).maximum(values)
    return truncate_to_uint8(
        values.mul_(image_weight).add_(white, alpha=1.0 - image_weight).add_(falling).add_(falling.rot90(2, (2, 3)))
    )


def fog(pixels: Tensor, fields: RandomFields, strength: float, decay: float) -> Tensor:
    """Adds ``strength`` times a cloud to the image, then scales the result to the image's maximum.

    The cloud is a plasma fractal with ``decay`` on the smallest power of two that covers the image, as in the published
    code for its four sizes (32, 64, 256 and 512).
    """
    size = pixels.shape[-1]
    cloud = plasma(fields, 1 << (size - 1).bit_length(), decay)[:, None, :size, :size]
    brightest = pixels.amax(dim=(1, 2, 3), keepdim=True).to(torch.float32)
    foggy = cloud.mul(255.0 * strength).add(pixels)
    return truncate_to_uint8(foggy.mul_(brightest / (brightest + 255.0 * strength)))


def plasma(fields: RandomFields, size: int, decay: float) -> Tensor:
    """Generates clouds with the diamond-square algorithm on a torus.

    A new point is the mean of the four points around it plus a uniform number between plus and minus the square of the
    wibble, which starts at 100 and is divided by ``decay`` at each finer scale.

    Args:
        fields: the images' random numbers.
        size: edge of the clouds in pixels, a power of two.
        decay: the divisor of the wibble.

    Returns:
        Clouds from 0 to 1, float32 ``[B, size, size]``.
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
    """Adds ``addition`` to the value (of hue, saturation and value), clipped at 1.

    The value is the brightest channel. Hue and saturation are ratios of the channels, so the others grow by the same
    factor; black becomes gray.
    """
    values = pixels.to(torch.float32)
    brightest = values.amax(dim=1, keepdim=True)
    raised = (brightest + 255.0 * addition).clamp_(max=255.0)
    lit = values.mul_(raised / brightest.clamp(min=1.0))
    return truncate_to_uint8(torch.where(brightest > 0, lit, raised))
