"""How processes that were started together find each other, also when some of an earlier start are gone."""

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


def test_every_start_gets_a_part_of_the_store_for_itself_whoever_comes_first(monkeypatch):
    monkeypatch.setattr(group, "_LOOK", 0.001)
    store, chance = HashStore(), random.Random(0)
    marks: set[str] = set()
    for start in range(20):

        def join(rank: int) -> str:
            time.sleep(chance.choice((0, 0.01)))
            part = group._fresh(store, ProcessGroup(rank, 3))
            assert not part.check([f"address of {rank}"])
            part.set(f"address of {rank}", f"{rank} in start {start}")  # noqa: B023
            return ",".join(part.get(f"address of {other}").decode() for other in range(3))

        with ThreadPoolExecutor(3) as pool:
            found = set(pool.map(join, range(3)))
        assert found == {f"0 in start {start},1 in start {start},2 in start {start}"}
        marks.add(store.get("noisystudent/first").decode())
        if start % 3 == 0:  # the next first process is killed before the others come
            store.set("noisystudent/first", f"killed in start {start}")
    assert len(marks) == 20


@pytest.mark.slow
@pytest.mark.parametrize("late", [0, 1])
def test_after_a_restart_processes_do_not_wait_for_the_dead(late):
    """The one that comes first finds the address of the other's predecessor, to which it could wait to be connected."""
    done = subprocess.run([*TORCHRUN, SCRIPT, str(late)], check=True, capture_output=True, text=True, timeout=120)
    assert sorted(done.stdout.split("\n")[-3:]) == ["", "0 of 2", "1 of 2"]
