"""Settings that say how long a stage trains and on how many images: they must agree with each other."""

from __future__ import annotations

from collections.abc import Collection

from noisystudent.condition import Values
from noisystudent.errors import SettingsError

_ROUNDS = ("run", "plan")


def check_lengths(command: str, given: Collection[str], values: Values) -> None:
    """Raises ``SettingsError`` for settings of one command that contradict each other.

    Args:
        command: The command.
        given: The names of the settings that the user gave.
        values: The values of all settings by dotted name.
    """
    if values["train.epochs"] and "train.steps" in given:
        raise SettingsError(
            f"train.epochs ({values['train.epochs']:g}) and train.steps ({values['train.steps']}) both say how long a "
            "stage trains. Leave one of the two out."
        )
    _check_ratio(command, values)


def _check_ratio(command: str, values: Values) -> None:
    ratio = values["train.ratio"]
    if not isinstance(ratio, tuple):
        return
    shown = ", ".join(f"{number:g}" for number in ratio)
    if command not in _ROUNDS:
        raise SettingsError(
            f"train.ratio is {shown}: a list has one number per round of a run, and {command} has no rounds. Give one "
            "number."
        )
    if len(ratio) != values["rounds.count"]:
        count = f"{len(ratio)} number{'s' if len(ratio) > 1 else ''}"
        raise SettingsError(
            f"train.ratio has {count}, one per round ({shown}), and rounds.count is {values['rounds.count']}. Give as "
            "many numbers as rounds, or one number without brackets for all rounds."
        )
