"""Text for a terminal: names of files and classes can contain sequences that a terminal would obey."""

from __future__ import annotations

import unicodedata

# Joiners belong to words and emoji; all other invisible characters can make a line look like another one.
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
_LINES = "\n\t"


def escaped(text: str, *, keep: str = _LINES) -> str:
    r"""Text with control characters written out, as in ``\x1b[2J``.

    Args:
        text: Any text.
        keep: Control characters that stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if letter in keep or _is_visible(letter) else _written_out(letter) for letter in text)


def _is_visible(letter: str) -> bool:
    return letter in _JOINERS or unicodedata.category(letter) not in ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")


def _written_out(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
