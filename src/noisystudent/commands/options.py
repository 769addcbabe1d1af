"""What the verbs' options have in common: errors that are ours, and a run's settings as options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from noisystudent.errors import SettingsError, nearest_name

SOURCE_HELP = (
    "a folder, an .npz file (FILE.npz:test takes its test part), tar shards or Parquet (a file, a folder, a pattern "
    "such as train-{000..123}.tar, or a URL of one), a .csv of paths, hf:NAME:SPLIT, or digits"
)
CHECKPOINT_HELP = "a checkpoint's folder, or timm:NAME for the weights that timm publishes"


class Parser(argparse.ArgumentParser):
    """argparse with errors that are ours: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raises ``SettingsError`` with argparse's message."""
        raise SettingsError(f"{message} (see '{self.prog} --help')")


def with_settings(parser: argparse.ArgumentParser, words: list[str], rooms: tuple[str, ...] = ("",)) -> dict[str, Any]:
    """Parses a verb's words with the settings of ``rooms`` as options; returns what was given, by dotted name."""
    from noisystudent.config import setting_fields

    fields = {name: field for name, field in setting_fields().items() if name.startswith(rooms)}
    if rooms == ("",):
        parser.add_argument(
            "--config", type=Path, metavar="FILE.yaml", help="settings from a file; options win over it"
        )
    for name, field in fields.items():
        default = "" if field.is_required() else f" (default {field.default})"
        text = f"{field.description}{default}".replace("%", "%%")
        parser.add_argument(f"--{name}", default=argparse.SUPPRESS, metavar="VALUE", help=text)
    given, unknown = parser.parse_known_args(words)
    for word in unknown:
        name = word.split("=", 1)[0].removeprefix("--")
        known = [option.removeprefix("--") for action in parser._actions for option in action.option_strings]
        raise SettingsError(
            f"unknown option {word!r}.{nearest_name(name, known)} 'noisystudent COMMAND --help' lists them all."
        )
    return vars(given)
