"""Prints the lines of commands."""

from __future__ import annotations

import sys
from typing import TextIO

from noisystudent.runtime.env import launcher_rank
from noisystudent.runtime.terminal import escaped, terminal_width, wrapped


def say(text: object, file: TextIO | None = None) -> None:
    """Prints text with control characters written out, as names of classes and files need it.

    On a terminal, lines are broken between words.

    Args:
        text: What to print.
        file: Where to; by default the standard output.
    """
    file = file or sys.stdout
    print(wrapped(escaped(str(text)), terminal_width(file)), file=file)


def announce(command: str) -> None:
    """Gives a sign of life before torch is loaded, which takes seconds.

    Args:
        command: The command, as the user wrote it.
    """
    if "torch" not in sys.modules and launcher_rank()[0] == 0:
        say(f"noisystudent {command}: starting (loading torch takes a few seconds)", sys.stderr)
        sys.stderr.flush()
