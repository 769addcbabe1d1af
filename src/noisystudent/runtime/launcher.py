"""What torchrun tells a process of its place among others; no torch here, since verbs that need none ask too."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from noisystudent.errors import SettingsError


def told_place() -> tuple[int, int]:
    """The number of this process, from 0, and how many there are, from RANK and WORLD_SIZE; 0 and 1 without both.

    Raises ``SettingsError`` when the two make no sense.
    """
    if not {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        return 0, 1
    rank, count = os.environ["RANK"], os.environ["WORLD_SIZE"]
    if not (_is_whole(rank) and _is_whole(count) and int(rank) < int(count)):
        raise SettingsError(
            f"the environment says RANK={rank!r} and WORLD_SIZE={count!r}, and a rank is a whole number from 0 to "
            "below the world size; start with torchrun, or unset both."
        )
    return int(rank), int(count)


def require_alone(verb: str) -> None:
    """Raises ``SettingsError`` when torchrun started several processes for a verb whose work they cannot share."""
    _, count = told_place()
    if count > 1:
        raise SettingsError(
            f"'{verb}' is the work of one process, and the environment says WORLD_SIZE={count}; start it without "
            "torchrun, or unset RANK and WORLD_SIZE."
        )


def leave(code: int) -> NoReturn:
    """Ends the process with an exit code; one of several ends at once, without the interpreter's own end.

    In that end torch now and then aborts a process that was one of a group ("terminate called without an active
    exception", seen in 1 of 20 with gloo), and torchrun takes its finished work for failed.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        raise SystemExit(code)
    group = sys.modules.get("torch.distributed")
    if code == 0 and group is not None and group.is_initialized():
        group.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdecimal()
