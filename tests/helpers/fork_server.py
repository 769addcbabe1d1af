"""Starts commands as forks of a process that has imported torch already: a start takes milliseconds, not seconds.

Run as a program it reads one request per line, forks once per process of the command, runs the command in the forks,
answers with their process numbers, and reports the return code of each when it has ended (negative for a signal).
"""

from __future__ import annotations

import json
import os
import queue
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

POLL_SECONDS = 0.01


class Command:
    """A command that was started; ``returncode`` is None while it runs, then that of the first process that failed."""

    def __init__(self, pids: Sequence[int], folder: Path) -> None:
        self._pids, self._folder = pids, folder
        self._returncodes: dict[int, int] = {}
        self._ended = threading.Event()

    def process_ended(self, pid: int, returncode: int) -> None:
        self._returncodes[pid] = returncode
        if len(self._returncodes) == len(self._pids):
            self._ended.set()

    @property
    def returncode(self) -> int | None:
        return next(filter(None, self._returncodes.values()), 0) if self._ended.is_set() else None

    def wait(self, timeout: float | None = None) -> bool:
        """Whether the command ended within ``timeout`` seconds."""
        return self._ended.wait(timeout)

    def kill(self) -> None:
        """Kills what still runs of the command, and waits for its end."""
        for pid in self._pids:
            if pid not in self._returncodes:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.wait()

    def output(self) -> str:
        """What all processes printed, the main process first."""
        return self._read("out")

    def errors(self) -> str:
        """What all processes wrote to stderr, the main process first."""
        return self._read("err")

    def _read(self, stream: str) -> str:
        return "".join((self._folder / f"{rank}.{stream}").read_text() for rank in range(len(self._pids)))


class ForkServer:
    """The tests' side of the server, a context manager: ``start`` runs ``noisystudent WORDS`` or a Python program."""

    def __enter__(self) -> Self:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._resources = ExitStack()
        self._folder = Path(self._resources.enter_context(tempfile.TemporaryDirectory()))
        self._process = self._resources.enter_context(
            subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
        )
        self._commands: list[Command] = []
        self._by_pid: dict[int, Command] = {}
        self._started: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for command in self._commands:
            command.kill()
        assert self._process.stdin
        self._process.stdin.close()
        self._thread.join()
        self._resources.close()

    def run(self, words: Sequence[object], *, processes: int = 1, program: Path | None = None) -> Command:
        """Runs a command to its end and checks that it succeeded."""
        command = self.start(words, processes=processes, program=program)
        assert command.wait(280), "the command does not end"
        assert command.returncode == 0, command.errors()
        return command

    def start(self, words: Sequence[object], *, processes: int = 1, program: Path | None = None) -> Command:
        """Starts a command in one process, or in several as torchrun would."""
        folder = self._folder / str(len(self._commands))
        folder.mkdir()
        request = {
            "words": [str(word) for word in words],
            "program": str(program) if program else None,
            "folder": str(folder),
            "environments": self._environments(processes),
        }
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        self._started.get(timeout=120)
        return self._commands[-1]

    def _listen(self) -> None:
        """Takes the reports of the server until it ends."""
        assert self._process.stdout
        for line in self._process.stdout:
            report = json.loads(line)
            if "pids" in report:
                command = Command(report["pids"], Path(report["folder"]))
                self._commands.append(command)
                self._by_pid.update(dict.fromkeys(report["pids"], command))
                self._started.put(None)
            else:
                self._by_pid[report["ended"]].process_ended(report["ended"], report["returncode"])

    def _environments(self, processes: int) -> list[dict[str, str]]:
        """What torchrun would add to the environment of each process; nothing for a process alone."""
        if processes == 1:
            return [{}]
        from torch.distributed import TCPStore

        # Like torchrun, this side holds the store: its port is taken from the start on.
        self._store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        shared = {
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self._store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
        return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


def serve() -> None:
    """Answers requests on stdin, one per line, and reports forks that have ended."""
    import torch

    from noisystudent import api, commands, pipeline  # noqa: F401  (imported before the forks)
    from noisystudent.commands import demo, images, pipelines, stages  # noqa: F401
    from noisystudent.pipeline import distillation, plan, run_folder, single_model  # noqa: F401

    torch.set_num_threads(1)
    running: set[int] = set()
    while True:
        readable, _, _ = select.select([sys.stdin], [], [], POLL_SECONDS if running else None)
        for pid in sorted(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                running.remove(pid)
                report({"ended": pid, "returncode": os.waitstatus_to_exitcode(status)})
        if readable:  # one line: the next request comes after the answer to this one
            line = sys.stdin.readline()
            if not line:
                return
            running.update(start_request(json.loads(line)))


def report(content: dict[str, Any]) -> None:
    print(json.dumps(content), flush=True)


def start_request(request: dict[str, Any]) -> list[int]:
    """Forks once per process of a command and reports their process numbers."""
    pids = []
    for rank, environment in enumerate(request["environments"]):
        pid = os.fork()
        if not pid:
            run_request(request, rank, environment)
        pids.append(pid)
    report({"pids": pids, "folder": request["folder"]})
    return pids


def run_request(request: dict[str, Any], rank: int, environment: dict[str, str]) -> NoReturn:
    """Runs a command in this fork, which ends with it."""
    for stream, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(f"{request['folder']}/{rank}.{stream}", os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(environment)
    code = 1
    try:
        run_program(request["program"], request["words"])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run_program(program: str | None, words: list[str]) -> NoReturn:
    """Runs ``noisystudent WORDS``, or a Python program; both end with an exit code."""
    sys.argv = [program or "noisystudent", *words]
    if program:
        runpy.run_path(program, run_name="__main__")
        raise SystemExit(0)
    from noisystudent.commands.main import main
    from noisystudent.runtime.env import exit_process

    exit_process(main(words))


if __name__ == "__main__":
    serve()
