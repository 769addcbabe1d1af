"""Options that commands share: settings as options with their defaults, and errors as one line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from noisystudent.commands.parser import Parser
from noisystudent.errors import SettingsError, nearest_name

if TYPE_CHECKING:  # settings load pydantic, which 'noisystudent --help' does without
    from noisystudent.config import Command

SOURCE_HELP = (
    "a folder, an .npz file (FILE.npz:test for its test part), tar shards or Parquet (a file, a folder, a pattern such "
    "as train-{000..123}.tar, or a URL of one), a .csv of paths, hf:NAME:SPLIT, or digits"
)
CHECKPOINT_HELP = "the folder of a checkpoint, or timm:NAME for weights that timm publishes"
_WITH_CONFIG = ("run", "plan", "study", "train", "pretrain", "distill")
# Short names of settings, for every command that uses them and has no option of its own with that name.
SHORT = {
    "backbone": "model.backbone",
    "tune": "model.tune",
    "student": "head.student",
    "size": "data.size",
    "steps": "train.steps",
    "epochs": "train.epochs",
    "lr": "train.learning_rate",
    "baselines": "rounds.baselines",
    "log": "runtime.log",
}
# Sources that may be given without their option, in this order.
_POSITIONAL = {
    "run": ("labeled", "unlabeled", "test"),
    "plan": ("labeled", "unlabeled", "test"),
    "check": ("labeled", "unlabeled", "test"),
    "distill": ("labeled", "unlabeled", "test"),
    "train": ("labeled",),
    "pretrain": ("unlabeled",),
}
_METAVARS = {**dict.fromkeys(("labeled", "unlabeled", "validation", "test"), "SOURCE"), "out": "FOLDER"}


def add_start(parser: Parser) -> None:
    """Adds the option ``--start`` of the commands whose models begin with weights, and none of which goes on."""
    parser.add_argument(
        "--start",
        metavar="ENCODER",
        help="an encoder that 'pretrain' made to start from; with --recipe bit any weights",
    )


def add_verify(parser: Parser) -> None:
    """Adds the option ``--verify``."""
    parser.ways_in.add("verify")
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


def with_settings(
    parser: Parser, arguments: list[str], command: Command, short_for: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Parses the arguments of a command, with the settings that it uses as options.

    Args:
        parser: The parser, which has the command's own options already.
        arguments: What the user wrote after the command.
        command: The command, which decides the settings; all others raise ``SettingsError``.
        short_for: Own options that stand for settings, by name.

    Returns:
        The values of the command's own options and of the settings that the user gave, by name.
    """
    from noisystudent.config import ALL_SETTINGS, ARGUMENTS, USED, require_used

    own_actions = list(parser._actions)
    own = {action.dest for action in own_actions}
    shortened = {short: name for short, name in SHORT.items() if name in USED[command] and short not in own}
    _add_ways_in(parser, command, shortened)
    add_settings(parser, command)
    for name in ALL_SETTINGS:
        if name not in USED[command] and name not in own:  # refused below, with the commands that use it
            parser.add_argument(f"--{name}", dest=name, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    namespace, unknown = parser.parse_known_args(arguments)
    given = vars(namespace)
    # argparse gives up on positional arguments once options stand between them.
    late = [argument for argument in unknown if not argument.startswith("-")] if command in _POSITIONAL else []
    for argument in [argument for argument in unknown if argument not in late]:
        raise SettingsError(_unknown_option(parser, argument))
    if command in _POSITIONAL:
        _take_positional(given, [*given.pop("sources"), *late], _POSITIONAL[command])
    _lengthen(given, {**shortened, **short_for})
    from_user = {name: ARGUMENTS for name in given if name in ALL_SETTINGS and name not in own}
    require_used(command, from_user, shown_as=parser.prog.split()[-1])
    if (file := given.pop("write_config", None)) is not None:
        from noisystudent.commands.write_config import write_config

        _require_settings_alone(given, own_actions)
        words = [command, *(str(given[action.dest]) for action in own_actions if not action.option_strings)]
        write_config(file, given, command, given["config"], words)
        parser.exit()
    return given


def _lengthen(given: dict[str, Any], short_for: Mapping[str, str]) -> None:
    """Puts what was given by a short name under that of the setting; raises ``SettingsError`` for one given twice."""
    for short, name in short_for.items():
        if (value := given.pop(short)) is None:
            continue
        if name in given:
            raise SettingsError(f"--{short} is short for --{name}, and both are given; leave one out.")
        given[name] = value


def _require_settings_alone(given: Mapping[str, Any], own: Sequence[argparse.Action]) -> None:
    """Raises ``SettingsError`` for options that a file of settings cannot keep."""
    lost = [
        action.option_strings[0]
        for action in own
        if action.option_strings and action.dest in given and given[action.dest] != action.default
    ]
    if lost:
        raise SettingsError(
            f"--write-config keeps settings alone; leave out {' and '.join(lost)} here, and give that beside --config."
        )


def _add_ways_in(parser: Parser, command: Command, shortened: Mapping[str, str]) -> None:
    """Adds what stands for settings: sources without options, a file, short names."""
    parser.ways_in |= {"config", "write_config", *shortened}
    if command in _POSITIONAL:
        names = [f"--{name}" for name in _POSITIONAL[command]]
        text = f"short for {', '.join(names)}, in this order" if len(names) > 1 else f"short for {names[0]}"
        parser.add_argument("sources", nargs="*", metavar="SOURCE", help=text)
    if command in _WITH_CONFIG:
        parser.add_argument(
            "--config", type=Path, metavar="FILE.yaml", help="read settings from a file; options take precedence"
        )
        parser.add_argument(
            "--write-config", type=Path, metavar="FILE.yaml", help="write these settings to a file and end"
        )
    for short, name in shortened.items():
        parser.add_argument(f"--{short}", metavar="VALUE", help=f"short for --{name}")


def _take_positional(given: dict[str, Any], sources: Sequence[str], names: Sequence[str]) -> None:
    """Sets the sources that were given without their option; raises ``SettingsError`` for too many, or one twice."""
    if len(sources) > len(names):
        most = f"at most {len(names)} ({', '.join(names)})" if len(names) > 1 else f"one ({names[0]})"
        raise SettingsError(
            f"{len(sources)} sources are given without an option ({', '.join(sources)}), and the command takes {most}. "
            "Give the others with their option."
        )
    for name, source in zip(names, sources, strict=False):
        if name in given:
            raise SettingsError(
                f"{name} is given twice, {source!r} without an option and {given[name]!r} with --{name}; leave one out."
            )
        given[name] = source


def _unknown_option(parser: Parser, argument: str) -> str:
    """What to say of an option that there is not, with the one that is meant if it can be guessed."""
    shown = [name for action in parser._actions if action.help != argparse.SUPPRESS for name in action.option_strings]
    topics = " all" if parser.settings else ""
    lists = f"'{parser.prog} --help{topics}' lists all options."
    if not argument.startswith("-"):
        roles = [name for name in shown if name in ("--labeled", "--unlabeled", "--source", "--checkpoint")]
        advice = f"give it with its option, such as {roles[0]}" if roles else "leave it out"
        return f"{argument!r} stands without an option; {advice}. {lists}"
    name = argument.split("=", 1)[0]
    section = name.lstrip("-")
    if section in parser.settings:
        first = next(iter(parser.settings[section]._group_actions)).option_strings[0]
        return f"{name} is a section, not an option; give a setting of it, such as {first}. {lists}"
    return f"unknown option {argument!r}.{_meant(name, shown)} {lists}"


def _meant(name: str, shown: Sequence[str]) -> str:
    """The option that a name means: the same name in a section, in the sections' usual order, else the nearest name."""
    wanted = name.lstrip("-").replace("-", "_")
    same = [option for option in shown if option.rpartition(".")[2] == wanted or option == f"--{wanted}"]
    preferred = sorted(same, key=lambda option: not option.startswith(("--train.", "--data.", "--model.", "--noise.")))
    if preferred:
        return f" Did you mean '{preferred[0]}'?"
    long = [option for option in shown if option.startswith("--")]
    near = nearest_name(wanted, (option.removeprefix("--") for option in long)) if len(wanted) > 1 else ""
    return near.replace("'", "'--", 1)


def add_settings(parser: Parser, command: Command) -> None:
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
            text = _first_line(sections[section]) if section else None
            groups[section] = parser.add_settings_group(section, text)
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
