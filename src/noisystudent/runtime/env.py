"""The environment of the process: cache folder, threads, torchrun's rank, machine, versions. No torch here."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import NoReturn

from noisystudent.errors import SettingsError


def cache_folder() -> Path:
    """Returns the folder of shard indexes: ``$XDG_CACHE_HOME/noisystudent``, or ``~/.cache/noisystudent``.

    The folder need not exist, and users may delete it at any time. A relative ``XDG_CACHE_HOME`` is ignored, as its
    specification requires.
    """
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    try:
        base = Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache"
    except RuntimeError:  # a container's user without an entry in its list of users
        raise SettingsError("this user has no home folder; set HOME, or XDG_CACHE_HOME to a folder.") from None
    return base / "noisystudent"


def line_to_complete() -> tuple[str, int] | None:
    """The line that a shell wants completed, and the place of the cursor in it; None if it asks nothing."""
    if "_ARGCOMPLETE" not in os.environ:
        return None
    line, point = os.environ.get("COMP_LINE", ""), os.environ.get("COMP_POINT", "")
    return line, int(point) if _is_whole_number(point) else len(line)


def count_completed_words(count: int) -> None:
    """Tells argcomplete that so many words of the line stand before the command that it completes."""
    os.environ["_ARGCOMPLETE"] = str(1 + count)


def disable_spin_wait() -> None:
    """Makes OpenMP threads sleep while they wait, unless the user's environment sets ``OMP_WAIT_POLICY``.

    By default they spin. If another program occupies a core, a spinning thread can keep the thread it waits for from
    running: with one of two cores busy, small models then train slower on two threads than on one.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def launcher_rank() -> tuple[int, int]:
    """Returns rank and world size of this process, from RANK and WORLD_SIZE; (0, 1) unless both are set.

    Raises:
        SettingsError: the two are no whole numbers, or the rank is not below the world size.
    """
    if not {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        return 0, 1
    rank, count = os.environ["RANK"], os.environ["WORLD_SIZE"]
    if not (_is_whole_number(rank) and _is_whole_number(count) and int(rank) < int(count)):
        raise SettingsError(
            f"the environment has RANK={rank[:20]!r} and WORLD_SIZE={count[:20]!r}, but a rank is a whole number from "
            "0 to below the world size; start with torchrun, or unset both."
        )
    return int(rank), int(count)


def local_rank() -> int:
    """Returns the number of this process among those of this machine, from 0; it chooses the accelerator.

    Raises:
        SettingsError: LOCAL_RANK is no whole number.
    """
    rank = os.environ.get("LOCAL_RANK", "0")
    if not _is_whole_number(rank):
        raise SettingsError(
            f"the environment has LOCAL_RANK={rank[:20]!r}, which is not a whole number; start with torchrun, or unset "
            "it."
        )
    return int(rank)


def require_single_process(command: str) -> None:
    """Raises ``SettingsError`` if torchrun started several processes for a command that runs in one process."""
    _, count = launcher_rank()
    if count > 1:
        raise SettingsError(
            f"'{command}' runs in one process, and the environment has WORLD_SIZE={count}; start it without torchrun, "
            "or unset RANK and WORLD_SIZE."
        )


def exit_process(code: int) -> NoReturn:
    """Ends the process with an exit code; a process of a group skips the shutdown of the interpreter.

    During that shutdown torch sometimes aborts a process of a group ("terminate called without an active exception",
    in 1 of 20 processes with gloo), and torchrun then reports its finished work as failed.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        raise SystemExit(code)
    group = sys.modules.get("torch.distributed")
    if code == 0 and group is not None and group.is_initialized():
        group.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _is_whole_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


PACKAGES = ("noisystudent", "torch", "torchvision", "timm", "numpy", "pillow", "pyarrow", "scikit-learn")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that a result depends on."""
    version_of = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            version_of[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version_of[name] = "not installed"
    return version_of


def threads_of_environment() -> str | None:
    """Returns OMP_NUM_THREADS, by which the environment bounds the threads; None where it does not."""
    return os.environ.get("OMP_NUM_THREADS")


def describe_machine() -> str:
    """Returns one line: processor, cores that this process may use, operating system."""
    cores = count_cores()
    return f"{_processor()}, {cores} core{'s' if cores > 1 else ''}, {platform.system()} {platform.machine()}"


def count_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
