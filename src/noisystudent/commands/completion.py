"""Completion in the shell: commands, options, choices and paths, from the parsers that the commands build."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import argcomplete
from argcomplete.completers import SuppressCompleter
from argcomplete.lexers import split_line
from argcomplete.shell_integration import shellcode

from noisystudent.commands.options import SHORT
from noisystudent.commands.parser import Parser
from noisystudent.models.settings import AUTO_BACKBONE, NO_BACKBONE
from noisystudent.pipeline.studies.paper import PAPER_STUDIES
from noisystudent.runtime.env import count_completed_words

Commands = Mapping[str, tuple[str, Callable[[Parser, list[str]], None]]]

# What the help calls the value of an option that takes a folder, and of one that takes a path of any kind.
_FOLDERS = ("FOLDER", "RUN", "RUN|CHECKPOINT", "CHECKPOINT", "FOLDER[,FOLDER]")
_FILES = ("SOURCE", "FILE_OR_FOLDER", "NAME|FILE.yaml")
# Names that an option takes beside others.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "model.backbone": (AUTO_BACKBONE, NO_BACKBONE),
    "name": tuple(PAPER_STUDIES),
}


class _ParserIsReady(Exception):
    """A command has built its parser, and is about to use it."""


class _ParserOnly(Parser):
    """Stops a command once its parser is ready; argcomplete then uses it as any other."""

    ready = False

    def parse_known_args(self, *arguments: Any, **named: Any) -> tuple[Any, list[str]]:  # noqa: ANN401 - argparse's
        """Stops the command the first time."""
        if not self.ready:
            self.ready = True
            raise _ParserIsReady
        return super().parse_known_args(*arguments, **named)

    def error(self, message: str) -> NoReturn:
        """Half a command line is no mistake: argcomplete goes on with what was parsed."""
        raise SystemExit(2)


def complete(line: str, point: int, commands: Commands, exit_method: Callable[[int], Any] = os._exit) -> None:
    """Answers a shell that asks how a line may go on, and ends the process.

    Args:
        line: The line.
        point: The place of the cursor in it.
        commands: Every command: what it does, and its function.
        exit_method: Ends the process.
    """
    words = split_line(line, point)[3]
    parser = parser_of(words[1], commands) if len(words) > 1 else _names_of(commands)
    if parser is None:
        exit_method(0)
        return
    if len(words) > 1:
        count_completed_words(1)
    argcomplete.autocomplete(
        parser, always_complete_options=False, exit_method=exit_method, default_completer=SuppressCompleter()
    )


def parser_of(command: str, commands: Commands) -> argparse.ArgumentParser | None:
    """The parser of a command as it stands when the command parses its words; None for no command."""
    if command not in commands:
        return None
    parser = _ParserOnly(command, "")
    with suppress(_ParserIsReady):
        commands[command][1](parser, [])
    by_name = {action.dest: action for action in parser._actions}
    for action in parser._actions:
        whole = by_name.get(SHORT.get(action.dest, ""), action)  # the setting that a short name stands for
        action.completer = _completer_of(whole)  # type: ignore[attr-defined]
    return parser


def _names_of(commands: Commands) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="noisystudent", add_help=False)
    names = parser.add_subparsers()
    for name, (text, _) in commands.items():
        names.add_parser(name, help=text, add_help=False)
    for option in ("--help", "--version"):
        parser.add_argument(option, action="store_true")
    return parser


def _completer_of(action: argparse.Action) -> Callable[..., Sequence[str]]:
    """What completes the value of an option: its choices, folders or paths."""
    metavar = str(action.metavar)
    choices = [*map(str, action.choices or choices_in(metavar)), *_NAMES.get(action.dest, ())]
    takes_paths, folders_only = metavar in _FILES or metavar.startswith("FILE"), metavar in _FOLDERS

    def answer(prefix: str, **_: object) -> list[str]:
        before, comma, last = prefix.rpartition(",") if metavar.endswith(",...") else ("", "", prefix)
        found = [f"{before}{comma}{choice}" for choice in choices if choice.startswith(last)]
        return found + (paths_from(prefix, folders_only=folders_only) if takes_paths or folders_only else [])

    return answer


def choices_in(metavar: str) -> list[str]:
    """The choices that a metavar names, as in ``{auto,gray,rgb}`` and ``auto|N``; placeholders are in capitals."""
    inner = re.fullmatch(r"\{(.*)\}", metavar.removesuffix(",..."))
    names = inner[1].split(",") if inner else metavar.split("|")
    return [name for name in names if re.fullmatch(r"[a-z][\w.:-]*", name)]


def paths_from(prefix: str, *, folders_only: bool = False) -> list[str]:
    """The paths that begin so, in order, folders with a slash at their end; hidden ones only once a dot is typed."""
    folder, name = os.path.split(prefix)
    try:
        entries = sorted(os.scandir(os.path.expanduser(folder) or "."), key=lambda entry: entry.name)
    except OSError:
        return []
    shown = [entry for entry in entries if entry.name.startswith(name) and (name or not entry.name.startswith("."))]
    found = [(os.path.join(folder, entry.name), entry.is_dir()) for entry in shown]
    return [f"{path}/" if is_folder else path for path, is_folder in found if is_folder or not folders_only]


def script_of(shell: str) -> str:
    """The script that registers the completion in ``bash``, ``zsh`` or ``fish``."""
    script: str = shellcode(["noisystudent"], shell=shell)
    return script
