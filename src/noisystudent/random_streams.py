"""Named random streams: every draw is a pure function of a seed and names, never of global state.

A stream is named by what it is for (``"order"``, ``"input-noise"``, ...) and where it is (epoch, round, index).
Whoever asks again with the same names gets the same numbers, in any process, in any order: that is what lets a
killed run go on as if nothing had happened.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream_key(seed: int, *names: str | int) -> int:
    """A 63-bit key for the stream ``names`` under ``seed``: equal inputs give equal keys on every machine."""
    text = "\x1f".join(f"{type(name).__name__}:{name}" for name in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator of its own for the stream ``names`` under ``seed`` (Philox, counter-based)."""
    return np.random.Generator(np.random.Philox(key=stream_key(seed, *names)))
