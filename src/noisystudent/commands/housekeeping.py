"""The commands around runs: runs, open, watch, clean; doctor for the machine, and completion for its shell."""

from __future__ import annotations

import shutil
import sys
import webbrowser
from pathlib import Path

from noisystudent.commands.parser import Parser
from noisystudent.commands.say import announce, say
from noisystudent.errors import ArtifactError, NoisyStudentError
from noisystudent.runtime.terminal import terminal_width


def runs(parser: Parser, arguments: list[str]) -> None:
    """Prints a table of the runs below a folder, the newest first."""
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs"), metavar="FOLDER", help="default runs")
    given = parser.parse_args(arguments)
    from noisystudent.display.wording import aligned, printable
    from noisystudent.reporting.runs_table import COLUMNS, rows_of_runs

    if not given.folder.is_dir():
        raise ArtifactError(f"{given.folder} is no folder; give the folder that holds your runs.")
    rows = rows_of_runs(given.folder)
    if not rows:
        say(f"no runs in {given.folder}")
        return
    for line in aligned([COLUMNS, *([printable(cell) for cell in row] for row in rows)], terminal_width(sys.stdout)):
        print(line)


def open_page(parser: Parser, arguments: list[str]) -> None:
    """Opens the page of a run, a distillation, a study or a comparison in the browser."""
    parser.add_argument("run", type=Path, metavar="FOLDER", help="the folder of the run")
    given = parser.parse_args(arguments)
    pages = [given.run / name for name in ("report.html", "comparison.html", "study.html")]
    page = next((page for page in pages if page.is_file()), None)
    if page is None:
        raise ArtifactError(
            f"{given.run} holds no page. A run writes it at its end: run the same command again to finish it, or "
            "'noisystudent report' to write the page of a finished run again."
        )
    say(page)
    if not webbrowser.open(page.resolve().as_uri()):
        say("no browser was found; open this file in one")


def watch(parser: Parser, arguments: list[str]) -> None:
    """Serves the growing page of a run on this machine until it is interrupted."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of the run, finished or not")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port on 127.0.0.1 (default: a free one)")
    given = parser.parse_args(arguments)
    from noisystudent.reporting.page_server import PageServer
    from noisystudent.runtime.interruption import Terminated

    with PageServer(given.run, given.port) as server:
        say(f"{server.address} shows {given.run}, to this machine alone; Ctrl-C ends this")
        sys.stdout.flush()
        try:
            server.serve_forever()
        except Terminated:
            raise
        except KeyboardInterrupt:
            say("")


def completion(parser: Parser, arguments: list[str]) -> None:
    """Prints the script that makes a shell complete commands, options, choices and folders."""
    parser.add_argument(
        "shell",
        choices=("bash", "zsh", "fish"),
        help='the shell; in bash and zsh: eval "$(noisystudent completion bash)", in fish: noisystudent completion '
        "fish | source; the same line in the shell's start file makes it last",
    )
    given = parser.parse_args(arguments)
    from noisystudent.commands.completion import script_of

    print(script_of(given.shell))


def doctor(parser: Parser, arguments: list[str]) -> None:
    """Prints what this machine offers a run, measured in a few seconds, and what to change."""
    parser.parse_args(arguments)
    announce(parser.command)
    from noisystudent.display.wording import printable
    from noisystudent.pipeline.doctor import examine_machine

    found = examine_machine()
    for name, text in found.facts.items():
        print(f"{f'{name}:':<21}{printable(text)}")
    for sentence in found.advice:
        say(f"advice: {sentence}")
    if not found.advice:
        say("nothing to change")


def clean(parser: Parser, arguments: list[str]) -> None:
    """Removes folders that were set aside because their settings changed, once the user agrees."""
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="runs, or a folder that holds runs")
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    given = parser.parse_args(arguments)
    from noisystudent.artifacts.archives import archived_folders
    from noisystudent.display.wording import plural

    found: list[Path] = []
    for folder in given.folders:
        if not folder.is_dir():
            raise ArtifactError(f"{folder} is no folder; give the folder of a run.")
        found += [path for path in archived_folders(folder) if path not in found]
    sizes = {path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in found}
    for path, size in sizes.items():
        say(f"{size / 1e6:>10,.1f} MB  {path}")
    if not found:
        say("nothing was set aside")
        return
    total = f"{plural(len(found), 'folder')} of {sum(sizes.values()) / 1e6:,.1f} MB"
    if not given.yes and not _agreed(f"remove {total}, work from other settings that the runs no longer use? [y/N] "):
        say("nothing was removed")
        return
    for path in found:
        _remove(path)
    say(f"removed {total}")


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise NoisyStudentError(f"{path} cannot be removed: {error.strerror or error}.") from error
