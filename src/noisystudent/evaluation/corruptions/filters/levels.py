"""Conversion of float32 values to uint8 levels, as in the authors' code, and to gray."""

from __future__ import annotations

from torch import Tensor

from noisystudent.noise.pixels import to_bytes

_NEARLY_WHOLE = 2.0**-12


def truncate_to_uint8(values: Tensor) -> Tensor:
    """Clips values on the scale from 0 to 255 and truncates them to uint8; ``values`` are overwritten.

    A value less than 2^-12 below a whole level counts as that level. The authors compute in float64, which does not
    change a flat area; in float32 it would end slightly below its level and become one level darker.
    """
    return to_bytes(values.add_(_NEARLY_WHOLE))


def round_to_uint8(values: Tensor) -> Tensor:
    """Clips values on the scale from 0 to 255 and rounds them to uint8; ``values`` are overwritten."""
    return to_bytes(values.add_(0.5))


def to_gray(values: Tensor) -> Tensor:
    """The ITU-R 601-2 luma, float32 ``[B, 1, S, S]``, of colors ``[B, 3, S, S]``; one channel is returned unchanged."""
    if values.shape[1] == 1:
        return values
    red, green, blue = values[:, :, None].unbind(1)
    return red.mul(0.299).add_(green, alpha=0.587).add_(blue, alpha=0.114)
