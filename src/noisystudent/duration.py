"""Durations and amounts of work as users write them, such as 90s, 15m, 1h30m or 76800samples."""

from __future__ import annotations

import re

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"(\d+(?:\.\d+)?)([smhd])"
_DURATION = re.compile(rf"(?:{_PART})+")
_SAMPLES = re.compile(r"([0-9][0-9_,]*)\s*samples")


def parse_duration(text: str) -> float:
    """Seconds of a duration such as ``90s``, ``15m``, ``2h``, ``1d`` or ``1h30m``.

    Args:
        text: Numbers, each with its unit.

    Raises:
        ValueError: The text is none, or 0.
    """
    written = text.strip().lower()
    if not _DURATION.fullmatch(written):
        raise ValueError(f"{text!r} is no duration; write numbers with a unit (s, m, h, d), such as 15m or 1h30m.")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_PART, written))
    if seconds <= 0:
        raise ValueError(f"{text!r} is no time at all; give a duration above 0, such as 15m.")
    return seconds


def parse_samples(text: str) -> int | None:
    """The number in a text such as ``76800samples``; None for a text that names no samples.

    Raises ``ValueError`` for 0 samples.
    """
    found = _SAMPLES.fullmatch(text.strip().lower())
    if not found:
        return None
    samples = int(found[1].replace(",", "").replace("_", ""))
    if not samples:
        raise ValueError(f"{text!r} is no work at all; give a number above 0, such as 76800samples.")
    return samples
