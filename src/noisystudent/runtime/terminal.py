"""Text for a terminal: names of files and classes can contain sequences that a terminal would obey."""

from __future__ import annotations

import os
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import TextIO

# Joiners belong to words and emoji; all other invisible characters can make a line look like another one.
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
_LINES = "\n\t"
_USUAL_WIDTH = 80  # columns


def escaped(text: str, *, keep: str = _LINES) -> str:
    r"""Text with control characters written out, as in ``\x1b[2J``.

    Args:
        text: Any text.
        keep: Control characters that stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if letter in keep or _is_visible(letter) else _written_out(letter) for letter in text)


def terminal_width(file: TextIO) -> int | None:
    """The columns of the terminal that a file writes to; None where it is none: logs and pipes have no width."""
    if not file.isatty():
        return None
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(file.fileno()).columns or _USUAL_WIDTH
    except (OSError, ValueError):  # not a terminal of the system's, such as one that a test stands in for
        return _USUAL_WIDTH


def wrapped(text: str, width: int | None, *, later: str = "") -> str:
    """Text whose lines are broken between words; a word that is longer than a line, such as a path, stays whole.

    Args:
        text: Any text; the indentation of a line is that of what follows it, too.
        width: The most columns of a line; None: lines stay as they are.
        later: Further indentation of the lines after a broken one.
    """
    if width is None:
        return text
    return "\n".join(_wrapped_line(line, width, later) for line in text.split("\n"))


def fitting(parts: Sequence[str], width: int) -> str:
    """As many of the parts as fit on a line of ``width`` columns, from the first one on, two spaces apart."""
    text = ""
    for part in parts:
        longer = f"{text}  {part}" if text else part
        if part and len(longer) <= width:
            text = longer
    return text


def _wrapped_line(line: str, width: int, later: str) -> str:
    if len(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip(" "))]
    pieces = textwrap.wrap(
        line, width, subsequent_indent=indent + later, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(pieces)


def _is_visible(letter: str) -> bool:
    return letter in _JOINERS or unicodedata.category(letter) not in ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")


def _written_out(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
