"""Named random streams: every random number is a pure function of a seed and names, never of global state.

The names of a stream are its purpose (``"order"``, ``"input-noise"``, ...) and its position (epoch, round, index).
Equal names give equal numbers in any process and in any order, so a killed run resumes with the same numbers.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream_key(seed: int, *names: str | int) -> int:
    """Returns the 63-bit key of the stream ``names`` under ``seed``; it is the same on every machine."""
    text = "\x1f".join(f"{type(name).__name__}:{name}" for name in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Returns a new NumPy generator of the stream ``names`` under ``seed`` (Philox, counter-based)."""
    return np.random.Generator(np.random.Philox(key=stream_key(seed, *names)))
