"""Processes that do one job together, as torchrun starts them; a process that was started alone is the first of one."""

from __future__ import annotations

import atexit
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from noisystudent.errors import NoisyStudentError
from noisystudent.runtime.env import launcher_rank

_CPU = torch.device("cpu")
_LOOK = 0.1  # seconds between looks for the first process

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class ProcessGroup:
    """One process among ``count`` that work together: ``rank`` 0 is the first, the only one that writes."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes and speaks for all."""
        return self.rank == 0

    @property
    def rank_key(self) -> tuple[int, ...]:
        """Names for a random stream of this process's own: none when it is alone."""
        return (self.rank,) if self.world_size > 1 else ()

    def on_main(self, function: Callable[[], Answer]) -> Answer:
        """What ``function`` returns to the first process, in all of them; the others do not call it.

        An error that is meant for people is raised in all of them alike.
        """
        if self.world_size == 1:
            return function()
        answer: list[Answer | None] = [None]
        problem: list[NoisyStudentError | None] = [None]
        if self.is_main:
            try:
                answer = [function()]
            except NoisyStudentError as error:
                problem = [error]
        said = [answer[0], problem[0]]
        dist.broadcast_object_list(said, src=0, device=_CPU)
        if isinstance(said[1], NoisyStudentError):
            raise said[1]
        return said[0]  # type: ignore[return-value]

    def broadcast(self, value: Answer) -> Answer:
        """The first process's ``value``, in all of them."""
        return self.on_main(lambda: value)

    def wait(self) -> None:
        """Waits until all processes are here."""
        if self.world_size > 1:
            dist.barrier()

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes of a tensor that all of them have."""
        if self.world_size > 1:
            dist.all_reduce(values)
            values /= self.world_size
        return values

    def share_of(self, rows: int) -> slice:
        """The consecutive rows of ``rows`` that this process takes; every row is one process's."""
        bounds = [rows * rank // self.world_size for rank in (self.rank, self.rank + 1)]
        return slice(*bounds)

    def all_gather(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The rows of all processes, one after another in the order of the processes."""
        if self.world_size == 1:
            return rows
        return np.concatenate(self._of_all(rows))

    def map_sharded(self, pieces: int, function: Callable[[int], Answer]) -> Iterator[Answer]:
        """What ``function`` returns for each of ``pieces`` pieces of work, from 0, in order, in all processes.

        Every piece is one process's, which waits after each for the others: none holds more than ``count`` answers.
        """
        if self.world_size == 1:
            yield from map(function, range(pieces))
            return
        for first in range(0, pieces, self.world_size):
            own = range(first, pieces)[self.rank : self.rank + 1]  # none at the end, where there is no piece left
            for answers in self._of_all([function(piece) for piece in own]):
                yield from answers

    def _of_all(self, own: Answer) -> list[Answer]:
        """What each process has, in their order."""
        found = [own] * self.world_size
        dist.all_gather_object(found, own)
        return found


SINGLE = ProcessGroup()


def open_process_group() -> ProcessGroup:
    """The place of this process among those that torchrun started with it, which it joins, once in a process."""
    group = ProcessGroup(*launcher_rank())
    if group.world_size > 1 and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        store, *_ = next(rendezvous("env://"))
        dist.init_process_group(backend, store=_fresh(store, group), rank=group.rank, world_size=group.world_size)
        atexit.register(dist.destroy_process_group)
    return group


def _fresh(store: Store, group: ProcessGroup) -> Store:
    """A part of the store that no process of an earlier start has written to.

    torchrun keeps one store over all its restarts, and in it the addresses of processes that are gone: one that finds
    them waits for the dead. How often torchrun has restarted is no help, since each machine counts for itself. So the
    first process and each other show each other a mark that nobody could know before.
    """
    marks, mark = PrefixStore("noisystudent", store), secrets.token_hex(8)
    if group.is_main:
        marks.set("first", mark)
        for rank in range(1, group.world_size):
            marks.set(marks.get(f"{mark}/{rank}").decode(), mark)
        return PrefixStore(mark, store)
    while not marks.check([mark]):
        first = marks.get("first").decode()  # perhaps of a process that is gone, until the new one is here
        marks.set(f"{first}/{group.rank}", mark)
        time.sleep(_LOOK)
    return PrefixStore(marks.get(mark).decode(), store)


def local_rank() -> int:
    """Which of the processes on this machine this is, from 0: the accelerator that is its own."""
    return int(os.environ.get("LOCAL_RANK", "0"))
