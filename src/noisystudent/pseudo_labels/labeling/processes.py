"""Labels with several processes of this machine: ordinary workers that this process starts and watches.

They are new interpreters, not forks (CUDA and threads do not survive a fork), and read their job from standard input.
That also ties them to their parent: when it ends, in whatever way, the input ends, and they end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO

import noisystudent
from noisystudent.artifacts.claims import shared_folder
from noisystudent.errors import NoisyStudentError, WorkerError
from noisystudent.models.predictor import Predictor
from noisystudent.pseudo_labels.labeling.job import Job, Task
from noisystudent.pseudo_labels.labeling.teacher import open_for_inputs
from noisystudent.pseudo_labels.labeling.worker import say_changes, say_source, work
from noisystudent.runtime.allocator import keep_freed_memory
from noisystudent.runtime.env import count_cores, local_rank
from noisystudent.runtime.progress import Reporter
from noisystudent.runtime.worker import Worker, environment_of

POLL_INTERVAL = 0.5  # seconds between checks of the processes and their parts
_LAST_OUTPUT = 2000  # characters of a dead process's output that are shown
_CHILD = (
    "import sys; sys.path.append(sys.argv[1]); from noisystudent.pseudo_labels.labeling.processes import serve; serve()"
)


@dataclass(frozen=True)
class _Process:
    """A worker that was started here, and the file with its output."""

    name: str
    popen: subprocess.Popen[str]
    output: IO[bytes]

    def death(self) -> str:
        """How it failed; empty while it runs, and if it ended well."""
        code = self.popen.poll()
        if not code:
            return ""
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def last_output(self) -> str:
        """The end of its output."""
        self.output.seek(max(0, self.output.seek(0, os.SEEK_END) - _LAST_OUTPUT))
        return self.output.read().decode(errors="replace").strip()


def label_in_processes(
    job: Job, worker: Worker, count: int, reporter: Reporter, predictor: Predictor | None = None
) -> None:
    """Labels what is left of ``job`` with ``count`` processes, into which ``worker`` is divided.

    If a process dies, its last output is printed and the others take over its parts. Another call goes on with the
    rest. ``predictor`` is the job's teacher, if it is open already. Raises ``WorkerError`` if the processes did not
    finish the predictions.
    """
    if worker.origin:
        reporter.say(f"worker {worker} (known from {worker.origin}), as {count} processes")
    task = Task.open(job, open_for_inputs(job, predictor))
    say_source(task, worker, reporter)
    with shared_folder(job.out, task.inputs) as entered:
        say_changes(job, entered, reporter)
        task.begin()
        if task.is_complete():
            return
        with _started(task, worker, count) as processes:
            dead = _watch(task, processes, reporter)
            if not task.is_complete():
                raise _unfinished(task, count, dead)


def _unfinished(task: Task, count: int, dead: list[_Process]) -> WorkerError:
    left, parts = len(task.unfinished()), len(task.parts)
    first = f" Worker {dead[0].name} ({dead[0].death()}) printed last: {_last_line(dead[0])}" if dead else ""
    return WorkerError(
        f"{len(dead)} of {count} workers died, and {left} of {parts} parts are not made. What is labeled is kept; "
        f"run the same command again for the rest.{first}"
    )


def _last_line(process: _Process) -> str:
    return (process.last_output().splitlines() or ["nothing"])[-1].removeprefix("noisystudent: ")


@contextmanager
def _started(task: Task, worker: Worker, count: int) -> Iterator[list[_Process]]:
    """Starts ``count`` processes; none of them outlives the block."""
    threads = task.job.runtime.threads or max(1, count_cores() // count)
    runtime = task.job.runtime.model_copy(update={"threads": threads})
    message = {"job": task.job.model_copy(update={"runtime": runtime}).model_dump(mode="json"), "inputs": task.inputs}
    processes: list[_Process] = []
    try:
        for index in range(count):
            part = worker.divided(index, count, "--workers")
            rank = local_rank() * count + index
            processes.append(_start(json.dumps({**message, "worker": astuple(part)}), str(part), rank))
        yield processes
    finally:
        for process in processes:
            process.popen.kill()
        for process in processes:
            process.popen.communicate()
            process.output.close()


def _start(message: str, name: str, rank: int) -> _Process:
    # -P: modules are not searched in the current folder, which anyone may have written, but where the package lies.
    # -u: what a process printed last is in its file, in order, even if it is killed.
    words = [sys.executable, "-P", "-u", "-c", _CHILD, str(Path(noisystudent.__file__).parents[1])]
    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with its process
    popen = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=output, stderr=output, text=True, env=environment_of(rank)
    )
    assert popen.stdin
    try:
        popen.stdin.write(message + "\n")
        popen.stdin.flush()
    except BrokenPipeError:
        pass  # it died at once, and _watch will report it
    return _Process(name, popen, output)


def _watch(task: Task, processes: list[_Process], reporter: Reporter) -> list[_Process]:
    """Shows the progress of all processes until none runs, reports those that die, and returns them in order."""
    dead: list[_Process] = []
    unfinished = task.unfinished()
    total = sum(task.source.shard_sizes)
    with reporter.bar(f"label, {len(processes)} workers", total, "images") as bar:
        bar.start_at(total - task.rows(unfinished))
        running = True
        while running:
            running = any(process.popen.poll() is None for process in processes)
            started = time.monotonic()
            unfinished = task.unfinished()
            bar.advance(total - task.rows(unfinished) - bar.done)
            for process in processes:
                if process not in dead and (death := process.death()):
                    dead.append(process)
                    reporter.say(f"worker {process.name} died ({death}); its last output:\n{process.last_output()}")
            if running:
                time.sleep(
                    max(POLL_INTERVAL, 10 * (time.monotonic() - started))
                )  # a folder of many parts is slow to list
    return [process for process in processes if process in dead]


def serve() -> None:
    """Runs in a started process: reads the job from standard input and works until it is done or the input ends."""
    keep_freed_memory()
    message = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work(Job(**message["job"]), Worker(*message["worker"]), Reporter(quiet=True), inputs=message["inputs"])
    except NoisyStudentError as error:
        sys.exit(f"noisystudent: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)
