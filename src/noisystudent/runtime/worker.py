"""Which of several independent workers this process is, as told by the user, a scheduler or a launcher."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from noisystudent.errors import SettingsError
from noisystudent.runtime.env import launcher_rank

_FORM = "give it as 3/16, the third of sixteen, or as auto/16 to take the number from the environment"


@dataclass(frozen=True)
class Worker:
    """The ``index``-th (from 0) of ``count`` workers, and where that is known from; empty for one that is alone."""

    index: int = 0
    count: int = 1
    origin: str = ""

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"

    def divided(self, index: int, count: int, origin: str) -> Worker:
        """The ``index``-th of the ``count`` smaller workers that this one is divided into."""
        origins = ", ".join(filter(None, (self.origin, origin)))
        return Worker(self.index * count + index, self.count * count, origins)


def find_worker(given: str | None = None) -> Worker:
    """Which worker this is: ``given`` (``3/16``, from 1), else what the environment says, else the only one.

    Understood are Slurm's job arrays (``SLURM_ARRAY_TASK_ID``, ``_COUNT``, ``_MIN``, ``_STEP``) and Kubernetes' indexed
    jobs (``JOB_COMPLETION_INDEX``), which do not say how many there are: ``auto/16`` does. Inside of either, or alone,
    torchrun's ``RANK`` and ``WORLD_SIZE`` divide the worker once more. A number given in full is taken as it is. Raises
    ``SettingsError`` for anything that is not a number, or out of range.
    """
    if given is None:
        return _in_launcher(_in_array() or _in_unnumbered_job())
    found = re.fullmatch(r"(auto|[0-9]{1,9})/([0-9]{1,9})", given.strip())
    if not found:
        raise SettingsError(f"--worker is {given!r}; {_FORM}.")
    count = int(found[2])
    if count < 1:
        raise SettingsError(f"--worker is {given!r}, of no workers at all; {_FORM}.")
    if found[1] == "auto":
        return _in_launcher(_in_indexed_job(count))
    if not 1 <= int(found[1]) <= count:
        raise SettingsError(f"--worker is {given!r}, but workers count from 1 to {count}; {_FORM}.")
    return Worker(int(found[1]) - 1, count, "--worker")


def environment_of(rank: int) -> Mapping[str, str]:
    """The environment of this process for one that is to be the ``rank``-th of this machine."""
    return {**os.environ, "LOCAL_RANK": str(rank)}


def _in_array() -> Worker | None:
    """The task of a Slurm array. In a list of tasks with gaps, some may share an index: it only decides the order."""
    name = "SLURM_ARRAY_TASK_ID"
    if name not in os.environ:
        return None
    count = _whole("SLURM_ARRAY_TASK_COUNT", least=1)
    first = _whole("SLURM_ARRAY_TASK_MIN") if "SLURM_ARRAY_TASK_MIN" in os.environ else 0
    step = _whole("SLURM_ARRAY_TASK_STEP", least=1) if "SLURM_ARRAY_TASK_STEP" in os.environ else 1
    return Worker((_whole(name) - first) // step % count, count, name)


def _in_indexed_job(count: int) -> Worker:
    """The pod of a Kubernetes indexed job of ``count`` completions."""
    name = "JOB_COMPLETION_INDEX"
    if name not in os.environ:
        raise SettingsError(f"--worker is auto/{count}, but {name} is not set; give the number, as in 1/{count}.")
    index = _whole(name)
    if index >= count:
        raise SettingsError(
            f"--worker is auto/{count}, but {name} is {index}; give the job's completions as the number."
        )
    return Worker(index, count, name)


def _in_unnumbered_job() -> Worker:
    """The only worker; but a pod of an indexed job is surely one of many, and has to be told of how many."""
    if "JOB_COMPLETION_INDEX" in os.environ:
        raise SettingsError(
            "JOB_COMPLETION_INDEX is set, so this is a pod of an indexed job, which does not say of how many; give "
            "--worker auto/N with the job's completions for N, or --worker 1/1 to work alone."
        )
    return Worker()


def _in_launcher(worker: Worker) -> Worker:
    """The worker, or the part of it that torchrun has made this process."""
    rank, count = launcher_rank()
    return worker.divided(rank, count, "RANK") if count > 1 else worker


def _whole(name: str, least: int = 0) -> int:
    """A variable of the environment that is a whole number."""
    value = os.environ.get(name)
    if value is None:
        raise SettingsError(f"{name} is not set, though the environment says that this is one of several workers.")
    if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) < least:
        raise SettingsError(
            f"{name} is {value!r} in the environment, and should be a whole number of at least {least}; unset it, or "
            "say --worker 3/16 (1/1 to work alone)."
        )
    return int(value)
