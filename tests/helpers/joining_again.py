"""A program for torchrun: joins the other process, is killed, and joins again, one process later than the other."""

import os
import signal
import sys
import time

import torch
import torch.distributed as dist

from noisystudent.runtime.env import exit_process
from noisystudent.runtime.process_group import open_process_group

if __name__ == "__main__":
    restarted = os.environ["TORCHELASTIC_RESTART_COUNT"] != "0"
    if restarted and os.environ["RANK"] == sys.argv[1]:
        time.sleep(2)
    group = open_process_group()
    values = torch.ones(1)
    dist.all_reduce(values)
    if not restarted:
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdout.write(f"{group.rank} of {int(values)}\n")
    exit_process(0)
