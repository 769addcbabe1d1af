"""A batch whose images get different operations: each group changed at once, every image back in its place.

On a CPU all of it happens in portions that stay in the processor's caches.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from noisystudent.noise.pixels import images_at_once, images_within

_GROUPED_BYTES = 1 << 21  # sorting copies the images, and fresh memory for 128 of 224 px costs more than the noise

Change = Callable[[int, Tensor, Tensor], Tensor]
"""From the number of a group, some of its images and their rows of chances to the changed images."""


def portion(pixels: Tensor) -> int:
    """How many images ``[B, C, H, W]`` to group at once: all on an accelerator, on a CPU what its cache holds."""
    return images_within(_GROUPED_BYTES, pixels) if pixels.device.type == "cpu" else max(1, len(pixels))


def change_groups(pixels: Tensor, group: Tensor, groups: int, chances: Tensor, change: Change) -> Tensor:
    """The images ``[B, C, H, W]``, each changed as a member of its ``group`` (int64 ``[B]``, 0 to ``groups`` - 1).

    ``chances`` ``[B, N]`` are handed to ``change`` with their images. Groups on the CPU spare an accelerator all
    waiting for the host.
    """
    order = group.argsort(stable=True)
    counts = torch.bincount(group, minlength=groups).tolist()
    sorted_pixels = pixels.index_select(0, order.to(pixels.device))
    sorted_chances = chances.index_select(0, order)
    most = images_at_once(pixels)
    changed = [
        change(number, some, some_chances)
        for number, (members, their_chances) in enumerate(
            zip(sorted_pixels.split_with_sizes(counts), sorted_chances.split_with_sizes(counts), strict=True)
        )
        if len(members)
        for some, some_chances in zip(torch.split(members, most), torch.split(their_chances, most), strict=True)
    ]
    return torch.cat(changed).index_select(0, order.argsort().to(pixels.device))
