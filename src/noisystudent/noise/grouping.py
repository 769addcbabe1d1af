"""Different operations for the images of a batch: images are grouped, changed per group, and put back in order.

On a CPU a batch is split into portions that fit into the processor's caches.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from noisystudent.noise.pixels import images_at_once, images_within

_PORTION_BYTES = 1 << 21  # sorting copies images; allocating memory for 128 of 224 px takes longer than the noise

Change = Callable[[int, Tensor, Tensor], Tensor]
"""A function from the number of a group, images of the group and their rows of uniform numbers to changed images."""


def portion_size(pixels: Tensor) -> int:
    """Returns how many images [B, C, H, W] to group at once: all on an accelerator; on a CPU, as its caches hold."""
    return images_within(_PORTION_BYTES, pixels) if pixels.device.type == "cpu" else max(1, len(pixels))


def change_groups(pixels: Tensor, group: Tensor, groups: int, uniforms: Tensor, change: Change) -> Tensor:
    """Changes every image by the operation of its group.

    Args:
        pixels: images, uint8 [B, C, H, W].
        group: group of every image, int64 [B] from 0 to ``groups`` - 1; on the CPU, so that an accelerator need not
            wait for the host.
        groups: number of groups.
        uniforms: random numbers for ``change``, [B, N].
        change: changes images of one group.

    Returns:
        The changed images, in the order of ``pixels``.
    """
    order = group.argsort(stable=True)
    counts = torch.bincount(group, minlength=groups).tolist()
    pixels_by_group = pixels.index_select(0, order.to(pixels.device)).split_with_sizes(counts)
    uniforms_by_group = uniforms.index_select(0, order).split_with_sizes(counts)
    size = images_at_once(pixels)
    changed = [
        change(number, some_pixels, some_uniforms)
        for number, (group_pixels, group_uniforms) in enumerate(zip(pixels_by_group, uniforms_by_group, strict=True))
        if len(group_pixels)
        for some_pixels, some_uniforms in zip(
            torch.split(group_pixels, size), torch.split(group_uniforms, size), strict=True
        )
    ]
    return torch.cat(changed).index_select(0, order.argsort().to(pixels.device))
