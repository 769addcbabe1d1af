"""Processes that are started together find each other, also after a restart."""

import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from torch.distributed import HashStore

from noisystudent.runtime import process_group as group
from noisystudent.runtime.process_group import ProcessGroup

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1")
SCRIPT = Path(__file__).parents[1] / "helpers" / "joining_again.py"


def test_every_start_gets_a_separate_part_of_the_store_in_any_order_of_processes(monkeypatch):
    monkeypatch.setattr(group, "_POLL_INTERVAL", 0.001)
    store, delays = HashStore(), random.Random(0)
    marks: set[str] = set()
    for start in range(20):

        def join(rank: int) -> str:
            time.sleep(delays.choice((0, 0.01)))
            part = group._fresh_store(store, ProcessGroup(rank, 3))
            assert not part.check([f"address of {rank}"])
            part.set(f"address of {rank}", f"{rank} in start {start}")  # noqa: B023
            return ",".join(part.get(f"address of {other}").decode() for other in range(3))

        with ThreadPoolExecutor(3) as pool:
            addresses = set(pool.map(join, range(3)))
        assert addresses == {f"0 in start {start},1 in start {start},2 in start {start}"}
        marks.add(store.get("noisystudent/first").decode())
        if start % 3 == 0:  # the next main process is killed before the others join
            store.set("noisystudent/first", f"killed in start {start}")
    assert len(marks) == 20


@pytest.mark.parametrize("late", [0, 1])
def test_after_a_restart_processes_do_not_wait_for_earlier_ones(late):
    """The first process to join finds the address of a process of the earlier start, and must not wait for it."""
    done = subprocess.run([*TORCHRUN, SCRIPT, str(late)], check=True, capture_output=True, text=True, timeout=120)
    assert sorted(done.stdout.split("\n")[-3:]) == ["", "0 of 2", "1 of 2"]
