"""How numbers are written on the page and in the terminal: units, digits, the sign for a missing number."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from noisystudent.runtime.terminal import escaped

MISSING = "-"


def percent(share: float | None, digits: int = 1) -> str:
    """Writes a fraction as a percentage: ``0.9524`` is ``95.2%``."""
    return MISSING if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f}%"


def number(value: float | None, digits: int = 3) -> str:
    """Writes a number with ``digits`` decimals."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def whole(value: int | None) -> str:
    """Writes a whole number with separated thousands: ``1797`` is ``1,797``."""
    return MISSING if value is None else f"{value:,}"


def compact(value: float | None) -> str:
    """Writes a large number with three digits: ``5288548`` is ``5.29 M``; numbers below ten thousand in full."""
    if value is None or not math.isfinite(value):
        return MISSING
    for size, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= max(0.9995 * size, 9999.5):
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Writes a duration in at most two units: ``4.2 s``, ``3 min 20 s``, ``2 h 13 min``, ``3 d 4 h``."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    if seconds < 86370:
        hours, rest = divmod(round(seconds / 60), 60)
        return f"{hours} h {rest} min"
    days, rest = divmod(round(seconds / 3600), 24)
    return f"{days} d {rest} h"


def p_value(value: float) -> str:
    """Writes a p-value: ``p = 0.012`` or ``p < 0.001``."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def points(share: float, digits: int = 1) -> str:
    """Writes a difference of fractions in percentage points: ``0.012`` is ``+1.2``; zero has no sign."""
    text = f"{100 * share:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def plural(count: int, singular: str, plural_form: str | None = None) -> str:
    """Writes a count with its noun: ``1 image``, ``1,204 images``."""
    return f"{count:,} {singular if count == 1 else plural_form or singular + 's'}"


def joined(words: Sequence[str]) -> str:
    """Writes words as a phrase: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def shortened(text: str, letters: int) -> str:
    """Shortens a text to at most ``letters`` characters, with an ellipsis in its middle."""
    if len(text) <= letters:
        return text
    end = 2 * letters // 3  # the end of a path is more informative than its beginning
    return f"{text[: letters - end - 1]}\N{HORIZONTAL ELLIPSIS}{text[-end:]}"


def isolated(text: str) -> str:
    """Wraps a text in the signs that keep its direction of writing from what stands around it on a page."""
    return f"\N{FIRST STRONG ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}"


def setting(value: object) -> str:
    """Writes the value of a setting as a user would type it: text unchanged, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def aligned(lines: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Writes lines of cells as plain text, with the first column aligned left and the others aligned right.

    Args:
        lines: The cells of each line, as many in each.
        width: The most columns of a line of text; what is wider becomes several tables, one below the other, each
            with the first cells of the lines. None: lines are as long as they are.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text: list[str] = []
    for part in _parts_within(widths, width):
        text += [
            "  ".join([line[0].ljust(widths[0]), *(line[at].rjust(widths[at]) for at in part)]).rstrip()
            for line in lines
        ]
    return text


def _parts_within(widths: Sequence[int], width: int | None) -> list[list[int]]:
    """The columns after the first one, in parts that fit beside it; a column that is too wide is a part alone."""
    parts: list[list[int]] = [[]]
    used = widths[0]
    for column, needed in enumerate(widths[1:], start=1):
        if width is not None and parts[-1] and used + 2 + needed > width:
            parts.append([])
            used = widths[0]
        parts[-1].append(column)
        used += 2 + needed
    return parts


def printable(text: str) -> str:
    """Writes out the characters of one line that a terminal would obey; names of files can contain them."""
    return escaped(text, keep="")
