"""Random numbers as a pure function of (seed, stream, epoch, index): no state, the same bits on every device.

An image's noise must not depend on the images beside it, on the number of workers or on where a killed
run went on. So nothing is drawn from a generator: each number is the hash of its own address. The hash is
SplitMix64 (Steele, Lea and Flood, 2014) in wrapping int64 arithmetic, applied once for the epoch, once for
the index and once for the position, which keeps the sequences of neighboring images and epochs apart.
"""

from __future__ import annotations

from torch import Tensor, arange, float32

from noisystudent.random_streams import stream_key

_WORD = 1 << 64


def _signed(word: int) -> int:
    """The int64 value with the bits of the unsigned 64-bit ``word``."""
    return word - _WORD if word >= _WORD >> 1 else word


_STEP = _signed(0x9E3779B97F4A7C15)
_FIRST_FACTOR = _signed(0xBF58476D1CE4E5B9)
_SECOND_FACTOR = _signed(0x94D049BB133111EB)


def _shifted_right(words: Tensor, bits: int) -> Tensor:
    """Logical right shift: int64's own shift drags the sign bit along, which the mask takes away."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def _mixed(words: Tensor) -> Tensor:
    """The SplitMix64 finalizer: a bijection of 64-bit words in which every output bit hangs on every input
    bit.
    """
    words = (words ^ _shifted_right(words, 30)) * _FIRST_FACTOR
    words = (words ^ _shifted_right(words, 27)) * _SECOND_FACTOR
    return words ^ _shifted_right(words, 31)


class CounterRng:
    """Uniform numbers of one named stream, addressed by epoch and image index.

    ``seed`` is the run's seed, ``stream`` the purpose of the numbers, such as ``"input-noise"``: streams of
    other names are unrelated.
    """

    def __init__(self, seed: int, stream: str) -> None:
        self._key = stream_key(seed, stream)

    def uniform(self, epoch: Tensor, index: Tensor, count: int, *, first: int = 0) -> Tensor:
        """Uniform float32 numbers in [0, 1), ``[B, count]``, row b a function of ``epoch[b]`` and
        ``index[b]`` alone: the numbers from place ``first`` of its sequence on.

        ``epoch`` and ``index`` are int64 ``[B]`` on one device, which is where the numbers are made. The
        first ``count`` numbers of a row are the same whatever ``count``. Multiples of 2^-24: exact in
        float32.
        """
        row = _mixed((epoch + 1) * _STEP + self._key)
        row = _mixed(row + (index + 1) * _STEP)
        position = arange(first + 1, first + count + 1, device=row.device) * _STEP
        words = _mixed(row[:, None] + position)
        return _shifted_right(words, 40).to(float32) * 2.0**-24
