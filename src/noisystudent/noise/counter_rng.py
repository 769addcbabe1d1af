"""Random numbers as a pure function of (seed, stream, epoch, index): stateless, with equal bits on every device.

The noise of an image must not depend on the other images of its batch, on the number of workers or on where a killed
run resumed. So no generator is used: every number is the hash of its address. The hash is SplitMix64 (Steele, Lea and
Flood, 2014) in wrapping int64 arithmetic, applied once for the epoch, once for the index and once for the position, so
that neighboring images and epochs have unrelated sequences.
"""

from __future__ import annotations

from torch import Tensor, arange, float32

from noisystudent.random_streams import stream_key

_WORD = 1 << 64


def _signed(word: int) -> int:
    """Returns the int64 value with the bits of the unsigned 64-bit ``word``."""
    return word - _WORD if word >= _WORD >> 1 else word


_STEP = _signed(0x9E3779B97F4A7C15)
_FIRST_FACTOR = _signed(0xBF58476D1CE4E5B9)
_SECOND_FACTOR = _signed(0x94D049BB133111EB)


def _shift_right(words: Tensor, bits: int) -> Tensor:
    """Logical right shift: int64's arithmetic shift repeats the sign bit, which the mask clears."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def _mix(words: Tensor) -> Tensor:
    """The SplitMix64 finalizer, a bijection of 64-bit words: every output bit depends on every input bit."""
    words = (words ^ _shift_right(words, 30)) * _FIRST_FACTOR
    words = (words ^ _shift_right(words, 27)) * _SECOND_FACTOR
    return words ^ _shift_right(words, 31)


class CounterRng:
    """Uniform random numbers of one named stream, addressed by epoch and image index.

    Args:
        seed: the run's seed.
        stream: purpose of the numbers, such as ``"input-noise"``; streams with different names are unrelated.
    """

    def __init__(self, seed: int, stream: str) -> None:
        self._key = stream_key(seed, stream)

    def uniform(self, epoch: Tensor, index: Tensor, count: int, *, first: int = 0) -> Tensor:
        """Returns uniform numbers in [0, 1), float32 [B, count], on the device of ``epoch`` and ``index``.

        Row b depends on ``epoch[b]`` and ``index[b]`` alone. The numbers are multiples of 2^-24, exact in float32.

        Args:
            epoch: epoch of every image, int64 [B].
            index: index of every image, int64 [B].
            count: how many numbers per image.
            first: position of the first number in the image's sequence.
        """
        row = _mix((epoch + 1) * _STEP + self._key)
        row = _mix(row + (index + 1) * _STEP)
        position = arange(first + 1, first + count + 1, device=row.device) * _STEP
        words = _mix(row[:, None] + position)
        return _shift_right(words, 40).to(float32) * 2.0**-24
