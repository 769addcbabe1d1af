"""Options that commands share: settings as options with their defaults, and errors as one line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

from noisystudent.errors import SettingsError, nearest_name

if TYPE_CHECKING:  # settings load pydantic, which 'noisystudent --help' does without
    from noisystudent.config import Command

SOURCE_HELP = (
    "a folder, an .npz file (FILE.npz:test for its test part), tar shards or Parquet (a file, a folder, a pattern such "
    "as train-{000..123}.tar, or a URL of one), a .csv of paths, hf:NAME:SPLIT, or digits"
)
CHECKPOINT_HELP = "the folder of a checkpoint, or timm:NAME for weights that timm publishes"
_BACKBONE = "model.backbone"
_SMALL_STUDENT = "head.student"
_WITH_CONFIG = ("run", "plan", "study", "train", "pretrain", "distill")
_WITH_BACKBONE = ("run", "plan", "study", "train", "distill")
_METAVARS = {**dict.fromkeys(("labeled", "unlabeled", "validation", "test"), "SOURCE"), "out": "FOLDER"}
_HELP_WIDTH = 34  # columns before the text of an option


class Parser(argparse.ArgumentParser):
    """argparse with the package's errors (one line, exit code 2) and a usage line of the required options only."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(
            prog=f"noisystudent {command}",
            description=description,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=_HELP_WIDTH),
        )

    def format_help(self) -> str:
        """The help, with a usage line that does not repeat every option."""
        required = [_usage_of(action) for action in self._actions if action.required]
        self.usage = " ".join([self.prog, *required, "[options]"])
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Raises ``SettingsError`` with argparse's message."""
        raise SettingsError(f"{message} (see '{self.prog} --help')")


def _usage_of(action: argparse.Action) -> str:
    more = f" [{action.metavar} ...]" if action.nargs == "+" else ""
    return " ".join([*action.option_strings[:1], f"{action.metavar}{more}"])


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Adds the option ``--verify``."""
    parser.add_argument(
        "--verify",
        action="store_true",
        help="check every byte of finished stages; without it models are checked in full, other files by samples",
    )


def sizes_of(text: str) -> tuple[int, ...]:
    """Sizes in pixels as one types them, such as ``32,48``; raises ``SettingsError`` for anything else."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(
            f"--size is {text!r}; give edges in pixels with commas between them, such as 32,48."
        ) from None


def with_settings(parser: argparse.ArgumentParser, arguments: list[str], command: Command) -> dict[str, Any]:
    """Parses the arguments of a command, with the settings that it uses as options.

    Args:
        parser: The parser, which has the command's own options already.
        arguments: What the user wrote after the command.
        command: The command, which decides the settings; all others raise ``SettingsError``.

    Returns:
        The values of the command's own options and of the settings that the user gave, by name.
    """
    from noisystudent.config import ALL_SETTINGS, ARGUMENTS, USED, require_used

    own = {action.dest for action in parser._actions}
    if command in _WITH_CONFIG:
        parser.add_argument(
            "--config", type=Path, metavar="FILE.yaml", help="read settings from a file; options take precedence"
        )
    if command in _WITH_BACKBONE:
        parser.add_argument("--backbone", metavar="NAME", help=f"short for --{_BACKBONE}")
    if command in ("run", "plan"):
        parser.add_argument("--student", metavar="NAME", help=f"short for --{_SMALL_STUDENT}")
    _add_settings(parser, command)
    for name in ALL_SETTINGS:
        if name not in USED[command] and name not in own:  # refused below, with the commands that use it
            parser.add_argument(f"--{name}", dest=name, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    namespace, unknown = parser.parse_known_args(arguments)
    for argument in unknown:
        known = [action.dest for action in parser._actions if action.help != argparse.SUPPRESS]
        raise SettingsError(
            f"unknown option {argument!r}.{nearest_name(argument.split('=', 1)[0].removeprefix('--'), known)} "
            f"'{parser.prog} --help' lists all options."
        )
    given = vars(namespace)
    for short, name in (("backbone", _BACKBONE), ("student", _SMALL_STUDENT)):
        if short not in own and (value := given.pop(short, None)) is not None:
            given[name] = value
    from_user = {name: ARGUMENTS for name in given if name in ALL_SETTINGS and name not in own}
    require_used(command, from_user, shown_as=parser.prog.split()[-1])
    return given


def _add_settings(parser: argparse.ArgumentParser, command: Command) -> None:
    """Adds the settings of a command as options, one group per section, with choices and defaults."""
    from noisystudent.config import ALL_SETTINGS, USED, default_values
    from noisystudent.run_settings import RunSettings
    from noisystudent.settings_input import section_classes

    sections, defaults = section_classes(RunSettings), default_values(command)
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, field in ALL_SETTINGS.items():
        if name not in USED[command]:
            continue
        section = name.rpartition(".")[0]
        if section not in groups:
            title = section or "sources and run"
            groups[section] = parser.add_argument_group(title, _first_line(sections[section]) if section else None)
        default = _text_of(defaults[name])
        text = f"{field.description}{f' (default {default})' if default else ''}"
        groups[section].add_argument(
            f"--{name}",
            default=argparse.SUPPRESS,
            metavar=_METAVARS.get(name) or _metavar_of(field.annotation),
            help=text.replace("%", "%%"),
        )


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ").replace("``", "")


def _text_of(value: object) -> str:
    """A value as one types it; empty for what stands for nothing."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(_text_of(item) for item in value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _metavar_of(annotation: object) -> str:
    """What an option takes, such as ``{auto,gray,rgb}``, ``N|auto`` or ``X,...``."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _metavar_of(parts[0])
    if origin is tuple:
        return f"{_metavar_of(parts[0])},..."
    kinds = parts if origin in (Union, UnionType) else (annotation,)
    choices: list[str] = []
    others: list[object] = []
    for kind in kinds:
        if get_origin(kind) is Literal:
            choices += [str(choice) for choice in get_args(kind) if choice != ""]
        elif kind is bool:
            choices += ["true", "false"]
        elif kind is not NoneType:
            others.append(kind)
    if not others and len(choices) > 1:
        return "{" + ",".join(choices) + "}"
    return "|".join([*choices, *(_kind_of(kind) for kind in others)])


def _kind_of(annotation: object) -> str:
    if get_origin(annotation) is Annotated:
        return _metavar_of(annotation)
    names: Mapping[object, str] = {int: "N", float: "X"}
    return names.get(annotation, "TEXT")
