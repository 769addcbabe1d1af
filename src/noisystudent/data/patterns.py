"""Braces in the names of many files: ``train-{000000..000123}.tar`` and ``{train,extra}.tar``."""

from __future__ import annotations

import itertools
import math
import re

from noisystudent.errors import DataError

MOST_NAMES = 1_000_000  # that one pattern may stand for: beyond, a digit too many was typed

_BRACE = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]{1,12})\.\.([0-9]{1,12})")


def expand_braces(pattern: str) -> list[str]:
    """Every name that ``pattern`` stands for, in order: numbers ``{a..b}`` or a choice ``{one,two}`` in each brace.

    A range counts up or down, and its numbers have as many digits as the longer bound when either begins with a zero,
    as in a shell. Raises ``DataError`` for a brace that is neither, is nested or is not closed, and for more than a
    million names.
    """
    pieces = _BRACE.split(pattern)  # plain text and the insides of braces, in turn
    if any("{" in plain or "}" in plain for plain in pieces[::2]):
        raise DataError(f"The braces in {pattern!r} do not match, or are nested. Write ranges as {{000000..000123}}.")
    sizes = [_size(inside) for inside in pieces[1::2]]
    if math.prod(sizes) > MOST_NAMES:
        raise DataError(
            f"{pattern!r} stands for {math.prod(sizes):,} files. Use smaller ranges: {MOST_NAMES:,} at most."
        )
    choices = [_choices(pattern, piece) if odd % 2 else [piece] for odd, piece in enumerate(pieces)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def _size(inside: str) -> int:
    bounds = _RANGE.fullmatch(inside)
    return abs(int(bounds[1]) - int(bounds[2])) + 1 if bounds else 1 + inside.count(",")


def _choices(pattern: str, inside: str) -> list[str]:
    if bounds := _RANGE.fullmatch(inside):
        first, last = int(bounds[1]), int(bounds[2])
        padded = any(len(text) > 1 and text.startswith("0") for text in bounds.groups())
        width = max(map(len, bounds.groups())) if padded else 1
        step = 1 if first <= last else -1
        return [f"{number:0{width}d}" for number in range(first, last + step, step)]
    if "," in inside:
        return inside.split(",")
    raise DataError(
        f"{{{inside}}} in {pattern!r} is not understood: a brace holds a range of numbers, {{000000..000123}}, or "
        "names with commas between them, {train,extra}."
    )
