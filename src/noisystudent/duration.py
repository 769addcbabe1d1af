"""Durations as users write them, such as 90s, 15m or 1h30m."""

from __future__ import annotations

import re

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"(\d+(?:\.\d+)?)([smhd])"
_DURATION = re.compile(rf"(?:{_PART})+")


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
