"""A file of settings to start from: what the user gave, and everything else as comments with its default."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from noisystudent.artifacts.folder import atomic_write
from noisystudent.commands.say import say
from noisystudent.config import ALL_SETTINGS, USED, Command, default_values, given_values, read_settings, resolve
from noisystudent.errors import SettingsError


def write_config(
    file: Path, given: Mapping[str, Any], command: Command, config: Path | None, words: Sequence[str]
) -> None:
    """Writes a YAML file that ``--config`` reads, once its settings are found to be valid.

    Args:
        file: The file; it must not exist.
        given: The settings that the user gave as options, by dotted name.
        command: The command that will use them.
        config: The file of settings that the user gave, if any.
        words: How the command begins that reads the file, such as ``study`` and the name of one.

    Raises:
        SettingsError: The file exists, its folder does not, or a setting is not valid.
    """
    if file.exists() or not file.parent.is_dir():
        what = "exists; it is not overwritten" if file.exists() else "lies in a folder that does not exist"
        raise SettingsError(f"--write-config {str(file)!r} {what}. Name another file.")
    settings = {name: value for name, value in given.items() if name in ALL_SETTINGS}
    values = {**(read_settings(config) if config else {}), **given_values(settings)}
    resolve({"out": "unused", **values}, command=command)
    text = config_text(values, command)
    with atomic_write(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    say(f"settings: {file}  (noisystudent {shlex.join(words)} --config {shlex.quote(str(file))})")


def config_text(values: Mapping[str, Any], command: Command) -> str:
    """The text of the file: sections in order, given values as settings, the others as comments."""
    defaults = {**default_values(command), "out": "runs/NAME-1"}
    used = [name for name in ALL_SETTINGS if name in USED[command]]
    lines = [f"# noisystudent {command} --config THIS_FILE", "# Remove the mark of a comment to change a default."]
    section = ""
    for name in used:
        parent, _, own = name.rpartition(".")
        if parent != section:
            section = parent
            lines += ["", *_opening(parent, values)]
        indent = "  " * len(parent.split(".")) if parent else ""
        if name in values:
            lines.append(f"{indent}{own}: {_inline(values[name])}")
        else:
            lines.append(f"{indent}# {own}: {_inline(defaults[name])}")
    return "\n".join(lines) + "\n"


def _opening(parent: str, values: Mapping[str, Any]) -> list[str]:
    """The line that opens a section, as a comment where nothing of it is given."""
    *_, own = parent.split(".")
    given = any(name.startswith(f"{parent}.") for name in values)
    return [f"{'  ' * parent.count('.')}{'' if given else '# '}{own}:"]


def _inline(value: object) -> str:
    """A value in YAML on one line."""
    plain = list(value) if isinstance(value, tuple) else value
    text: str = yaml.safe_dump(plain, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()
