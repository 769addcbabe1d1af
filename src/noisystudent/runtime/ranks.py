"""Processes that do one job together, as torchrun starts them; a process that was started alone is the first of one."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from noisystudent.errors import NoisyStudentError, SettingsError

_CPU = torch.device("cpu")

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Ranks:
    """One process among ``count`` that work together: ``rank`` 0 is the first, the only one that writes."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks for all."""
        return self.rank == 0

    @property
    def apart(self) -> tuple[int, ...]:
        """Names for a random stream of this process's own: none when it is alone."""
        return (self.rank,) if self.count > 1 else ()

    def first_says(self, function: Callable[[], Answer]) -> Answer:
        """What ``function`` returns to the first process, in all of them; the others do not call it.

        An error that is meant for people is raised in all of them alike.
        """
        if self.count == 1:
            return function()
        answer: list[Answer | None] = [None]
        problem: list[NoisyStudentError | None] = [None]
        if self.first:
            try:
                answer = [function()]
            except NoisyStudentError as error:
                problem = [error]
        said = [answer[0], problem[0]]
        dist.broadcast_object_list(said, src=0, device=_CPU)
        if isinstance(said[1], NoisyStudentError):
            raise said[1]
        return said[0]  # type: ignore[return-value]

    def wait(self) -> None:
        """Waits until all processes are here."""
        if self.count > 1:
            dist.barrier()

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes of a tensor that all of them have."""
        if self.count > 1:
            dist.all_reduce(values)
            values /= self.count
        return values

    def share_of(self, rows: int) -> slice:
        """The consecutive rows of ``rows`` that this process takes; every row is one process's."""
        bounds = [rows * rank // self.count for rank in (self.rank, self.rank + 1)]
        return slice(*bounds)

    def gathered(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The rows of all processes, one after another in the order of the processes."""
        if self.count == 1:
            return rows
        parts: list[npt.NDArray[np.float32]] = [rows] * self.count
        dist.all_gather_object(parts, rows)
        return np.concatenate(parts)


ALONE = Ranks()


def told_ranks() -> Ranks:
    """What torchrun says of this process in RANK and WORLD_SIZE; alone where it does not say both.

    Raises ``SettingsError`` when the two make no sense.
    """
    if not {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        return ALONE
    rank, count = os.environ["RANK"], os.environ["WORLD_SIZE"]
    if not (_is_whole(rank) and _is_whole(count) and int(rank) < int(count)):
        raise SettingsError(
            f"the environment says RANK={rank!r} and WORLD_SIZE={count!r}, and a rank is a whole number from 0 to "
            "below the world size; start with torchrun, or unset both."
        )
    return Ranks(int(rank), int(count))


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def open_ranks() -> Ranks:
    """The place of this process among those that torchrun started with it, which it joins, once in a process."""
    ranks = told_ranks()
    if ranks.count > 1 and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend)
        atexit.register(dist.destroy_process_group)
    return ranks


def local_rank() -> int:
    """Which of the processes on this machine this is, from 0: the accelerator that is its own."""
    return int(os.environ.get("LOCAL_RANK", "0"))
