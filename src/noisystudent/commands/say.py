"""Prints the lines of commands."""

from __future__ import annotations

from typing import TextIO

from noisystudent.runtime.terminal import escaped


def say(text: object, file: TextIO | None = None) -> None:
    """Prints text with control characters written out, as names of classes and files need it.

    Args:
        text: What to print.
        file: Where to; by default the standard output.
    """
    print(escaped(str(text)), file=file)
