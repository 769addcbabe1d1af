"""From float32 values back to gray levels, as the authors' code does: clipped, and the fraction cut off."""

from __future__ import annotations

from torch import Tensor

from noisystudent.noise.pixels import to_bytes

_NEARLY_WHOLE = 2.0**-12


def cut_off(values: Tensor) -> Tensor:
    """``values`` on the scale of 0 to 255 as uint8: clipped, the fraction cut off; ``values`` are overwritten.

    A value less than 2^-12 below a whole level counts as that level. The authors compute in float64, where a flat area
    stays as it is; in float32 it would come out a little below its level, and a level too dark.
    """
    return to_bytes(values.add_(_NEARLY_WHOLE))


def rounded(values: Tensor) -> Tensor:
    """``values`` on the scale of 0 to 255 as uint8: clipped and rounded; ``values`` are overwritten."""
    return to_bytes(values.add_(0.5))


def gray(values: Tensor) -> Tensor:
    """The gray, float32 ``[B, 1, S, S]``, of colors ``[B, 3, S, S]`` (ITU-R 601-2 luma); of one channel, itself."""
    if values.shape[1] == 1:
        return values
    red, green, blue = values[:, :, None].unbind(1)
    return red.mul(0.299).add_(green, alpha=0.587).add_(blue, alpha=0.114)
