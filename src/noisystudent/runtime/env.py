"""What the environment says: cache folder, threads, torchrun's rank, machine and versions. No torch here."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import NoReturn

from noisystudent.errors import SettingsError


def cache_folder() -> Path:
    """Where indexes of other people's shards are kept: ``$XDG_CACHE_HOME/noisystudent``, or ``~/.cache/noisystudent``.

    It need not exist yet, and may be deleted at any time. A relative ``XDG_CACHE_HOME`` is passed over, as its
    specification asks.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    return base / "noisystudent"


def disable_spin_wait() -> None:
    """Asks OpenMP for threads that sleep while they wait, unless the user's environment says how they wait.

    By default they spin, and where another program holds a core the spinning thread keeps the one it waits for from
    running: with one of two cores busy, small models then train slower on two threads than on one.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def launcher_rank() -> tuple[int, int]:
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


def require_single_process(command: str) -> None:
    """Raises ``SettingsError`` when torchrun started several processes for a verb whose work they cannot share."""
    _, count = launcher_rank()
    if count > 1:
        raise SettingsError(
            f"'{command}' is the work of one process, and the environment says WORLD_SIZE={count}; start it without "
            "torchrun, or unset RANK and WORLD_SIZE."
        )


def exit_process(code: int) -> NoReturn:
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


PACKAGES = ("noisystudent", "torch", "torchvision", "timm", "numpy", "pillow", "pyarrow", "scikit-learn")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def describe_machine() -> str:
    """One line: processor, cores that this process may use, operating system."""
    return f"{_processor()}, {count_cores()} cores, {platform.system()} {platform.machine()}"


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
