"""The group of processes that torchrun started; a process that was started alone is a group of one."""

from __future__ import annotations

import atexit
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

from noisystudent.errors import NoisyStudentError, SettingsError
from noisystudent.runtime.env import launcher_rank

_CPU = torch.device("cpu")
_POLL_INTERVAL = 0.1  # seconds between checks for the main process

Result = TypeVar("Result")


@dataclass(frozen=True)
class ProcessGroup:
    """One process of a group of ``world_size``; rank 0 is the main process, the only one that writes files."""

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process is the main one, which writes files and prints."""
        return self.rank == 0

    @property
    def rank_key(self) -> tuple[int, ...]:
        """Extra names of a random stream that differs between processes; empty for a process alone."""
        return (self.rank,) if self.world_size > 1 else ()

    def on_main(self, function: Callable[[], Result]) -> Result:
        """Calls ``function`` in the main process and returns its result in all processes.

        A ``NoisyStudentError`` of the function is raised in all processes.
        """
        if self.world_size == 1:
            return function()
        result: list[Result | None] = [None]
        problem: list[NoisyStudentError | None] = [None]
        if self.is_main:
            try:
                result = [function()]
            except NoisyStudentError as error:
                problem = [error]
        message = [result[0], problem[0]]
        dist.broadcast_object_list(message, src=0, device=_CPU)
        if isinstance(message[1], NoisyStudentError):
            raise message[1]
        return message[0]  # type: ignore[return-value]

    def broadcast(self, value: Result) -> Result:
        """Returns the main process's ``value`` in all processes."""
        return self.on_main(lambda: value)

    def wait(self) -> None:
        """Waits until all processes have called it."""
        if self.world_size > 1:
            dist.barrier()

    def mean(self, values: Tensor) -> Tensor:
        """Returns the mean of a tensor over the processes; ``values`` are overwritten."""
        if self.world_size > 1:
            dist.all_reduce(values)
            values /= self.world_size
        return values

    def share_of(self, rows: int) -> slice:
        """Returns the consecutive rows of ``rows`` that belong to this process; every row belongs to one process."""
        bounds = [rows * rank // self.world_size for rank in (self.rank, self.rank + 1)]
        return slice(*bounds)

    def all_gather(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Returns the rows of all processes, in the order of the ranks."""
        if self.world_size == 1:
            return rows
        return np.concatenate(self._gather_objects(rows))

    def map_sharded(self, shards: int, function: Callable[[int], Result]) -> Iterator[Result]:
        """Yields the result of ``function`` for every shard number from 0 on, in order, in all processes.

        Every shard is computed by one process. The processes wait for each other after every shard, so that no process
        holds more than ``world_size`` results.
        """
        if self.world_size == 1:
            yield from map(function, range(shards))
            return
        for first in range(0, shards, self.world_size):
            own = range(first, shards)[self.rank : self.rank + 1]  # empty at the end, if no shard is left
            for results in self._gather_objects([function(shard) for shard in own]):
                yield from results

    def _gather_objects(self, own: Result) -> list[Result]:
        """Returns the objects of all processes, in the order of the ranks."""
        gathered = [own] * self.world_size
        dist.all_gather_object(gathered, own)
        return gathered


SINGLE = ProcessGroup()


def open_process_group() -> ProcessGroup:
    """Joins the processes that torchrun started, once per process, and returns the group."""
    group = ProcessGroup(*launcher_rank())
    if group.world_size > 1 and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        try:
            store, *_ = next(rendezvous("env://"))
        except (ValueError, dist.DistError) as error:
            raise SettingsError(
                f"the environment has RANK and WORLD_SIZE={group.world_size}, but the processes do not find each other "
                f"({str(error).splitlines()[0]}); start with torchrun, or unset both."
            ) from error
        dist.init_process_group(backend, store=_fresh_store(store, group), rank=group.rank, world_size=group.world_size)
        atexit.register(dist.destroy_process_group)
    return group


def _fresh_store(store: Store, group: ProcessGroup) -> Store:
    """Returns a part of the store that no process of an earlier start has written to.

    torchrun keeps one store over all its restarts, with the addresses of processes that no longer run. A process that
    reads such an address waits for ever. The number of restarts does not help, because every machine counts its own.
    So the main process and every other process exchange random marks, which cannot come from an earlier start.
    """
    marks, mark = PrefixStore("noisystudent", store), secrets.token_hex(8)
    if group.is_main:
        marks.set("first", mark)
        for rank in range(1, group.world_size):
            marks.set(marks.get(f"{mark}/{rank}").decode(), mark)
        return PrefixStore(mark, store)
    while not marks.check([mark]):
        main_mark = marks.get("first").decode()  # until the new main process is up, perhaps the mark of an earlier one
        marks.set(f"{main_mark}/{group.rank}", mark)
        time.sleep(_POLL_INTERVAL)
    return PrefixStore(marks.get(mark).decode(), store)
