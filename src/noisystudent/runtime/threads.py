"""How torch's CPU threads wait for each other; no torch here, since it must be told before torch is loaded."""

from __future__ import annotations

import os


def let_threads_sleep() -> None:
    """Asks OpenMP for threads that sleep while they wait, unless the user's environment says how they wait.

    By default they spin, and where another program holds a core the spinning thread keeps the one it waits for from
    running: with one of two cores busy, small models then train slower on two threads than on one.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
