"""The number of this process among independent workers, from the user, a scheduler or a launcher."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from noisystudent.errors import SettingsError
from noisystudent.runtime.env import launcher_rank

_FORM = "give it as 3/16, the third of sixteen, or as auto/16 to read the number from the environment"


@dataclass(frozen=True)
class Worker:
    """The ``index``-th (from 0) of ``count`` workers; ``origin`` names the source of both, empty for a lone worker."""

    index: int = 0
    count: int = 1
    origin: str = ""

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"

    def divided(self, index: int, count: int, origin: str) -> Worker:
        """Returns the ``index``-th of the ``count`` smaller workers that this worker is divided into."""
        origins = ", ".join(filter(None, (self.origin, origin)))
        return Worker(self.index * count + index, self.count * count, origins)


def find_worker(given: str | None = None) -> Worker:
    """Returns the worker that this process is.

    The environment is read for Slurm's job arrays (``SLURM_ARRAY_TASK_ID``, ``_COUNT``, ``_MIN``, ``_STEP``) and for
    Kubernetes' indexed jobs (``JOB_COMPLETION_INDEX``). An indexed job does not say how many workers there are, so it
    needs ``auto/16``. torchrun's ``RANK`` and ``WORLD_SIZE`` divide the worker once more.

    Args:
        given: number and count such as ``3/16``, from 1, which is used unchanged; ``auto/16`` to read the number from
            the environment; None to read both from the environment, or else to work alone.

    Raises:
        SettingsError: ``given`` or a variable of the environment is not a whole number, or is out of range.
    """
    if given is None:
        return _in_launcher(_in_array() or _in_unnumbered_job())
    match = re.fullmatch(r"(auto|[0-9]{1,9})/([0-9]{1,9})", given.strip())
    if not match:
        raise SettingsError(f"--worker is {given!r}; {_FORM}.")
    number, count = match[1], int(match[2])
    if count < 1:
        raise SettingsError(f"--worker is {given!r}, but there must be at least one worker; {_FORM}.")
    if number == "auto":
        return _in_launcher(_in_indexed_job(count))
    if not 1 <= int(number) <= count:
        raise SettingsError(f"--worker is {given!r}, but workers count from 1 to {count}; {_FORM}.")
    return Worker(int(number) - 1, count, "--worker")


def environment_of(rank: int) -> Mapping[str, str]:
    """Returns the environment for a new process that becomes the ``rank``-th of this machine."""
    return {**os.environ, "LOCAL_RANK": str(rank)}


def _in_array() -> Worker | None:
    """The task of a Slurm array; in an array with gaps, tasks can share an index, which only decides the order."""
    name = "SLURM_ARRAY_TASK_ID"
    if name not in os.environ:
        return None
    count = _read_whole_number("SLURM_ARRAY_TASK_COUNT", minimum=1)
    first = _read_whole_number("SLURM_ARRAY_TASK_MIN") if "SLURM_ARRAY_TASK_MIN" in os.environ else 0
    step = _read_whole_number("SLURM_ARRAY_TASK_STEP", minimum=1) if "SLURM_ARRAY_TASK_STEP" in os.environ else 1
    return Worker((_read_whole_number(name) - first) // step % count, count, name)


def _in_indexed_job(count: int) -> Worker:
    """The pod of a Kubernetes indexed job of ``count`` completions."""
    name = "JOB_COMPLETION_INDEX"
    if name not in os.environ:
        raise SettingsError(f"--worker is auto/{count}, but {name} is not set; give the number, as in 1/{count}.")
    index = _read_whole_number(name)
    if index >= count:
        raise SettingsError(
            f"--worker is auto/{count}, but {name} is {index}; give auto/N with the job's completions for N."
        )
    return Worker(index, count, name)


def _in_unnumbered_job() -> Worker:
    """A lone worker; a pod of an indexed job is one of many, and must know how many."""
    if "JOB_COMPLETION_INDEX" in os.environ:
        raise SettingsError(
            "JOB_COMPLETION_INDEX is set, so this is a pod of an indexed job, but the number of its pods is unknown; "
            "give --worker auto/N with the job's completions for N, or --worker 1/1 to work alone."
        )
    return Worker()


def _in_launcher(worker: Worker) -> Worker:
    """The worker, or the share of it that belongs to this process of torchrun."""
    rank, count = launcher_rank()
    return worker.divided(rank, count, "RANK") if count > 1 else worker


def _read_whole_number(name: str, minimum: int = 0) -> int:
    """The value of a variable of the environment that must be a whole number."""
    value = os.environ.get(name)
    if value is None:
        raise SettingsError(
            f"{name} is not set, although the environment describes one of several workers; set it, or give --worker "
            "3/16 (1/1 to work alone)."
        )
    if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) < minimum:
        raise SettingsError(
            f"{name} is {value!r} in the environment, and should be a whole number of at least {minimum}; unset it, or "
            "give --worker 3/16 (1/1 to work alone)."
        )
    return int(value)
