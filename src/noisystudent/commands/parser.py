"""argparse for commands with many settings: errors of one line, and a help that fits a screen."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Sequence
from copy import copy
from typing import Any, NoReturn

from noisystudent.errors import SettingsError, nearest_name

_HELP_WIDTH = 34  # columns before the text of an option
ALL = "all"  # the topic of everything
SOURCES = "sources and run"  # the title of the settings without a section
# Settings in the help of a command that is asked for without a topic, beside the command's own options.
_MAIN = {
    "run": ("labeled", "unlabeled", "test", "validation", "out", "budget", "recipe", "seed", "evaluation.suite"),
    "plan": ("labeled", "unlabeled", "test", "validation", "out", "budget", "recipe", "seed"),
    "check": ("labeled", "unlabeled", "test", "validation"),
    "study": ("labeled", "unlabeled", "test", "validation", "out"),
    "train": ("labeled", "validation", "test", "out", "seed"),
    "pretrain": ("labeled", "unlabeled", "test", "out", "seed"),
    "distill": ("labeled", "unlabeled", "test", "validation", "out", "recipe", "seed", "evaluation.suite"),
    "fix": ("labeled", "validation", "out", "seed"),
    "robustness": ("evaluation.suite",),
    "compare": ("evaluation.suite",),
}
# How that help names them: what they take, where it is short, and what they are.
_BRIEF: dict[str, tuple[str | None, str]] = {
    "labeled": (None, "labeled images: a folder with one folder per class"),
    "unlabeled": (None, "unlabeled images: a folder"),
    "test": (None, "labeled images that only report scores"),
    "validation": (None, "labeled images that models are chosen by"),
    "out": (None, "folder for the results (by default a new one in runs/)"),
    "budget": ("TIME", "90s, 15m, 2h or none: chooses what you leave open (default auto)"),
    "recipe": ("NAME", "settings to start from, see --help sources"),
    "seed": (None, "seed of all randomness (default 0)"),
    "evaluation.suite": ("NAMES", "also measure robustness, such as corruptions,attacks"),
    "config": (None, "a file of settings; options take precedence"),
    "backbone": ("NAME", "pretrained weights: auto, none, NAME or FILE"),
    "tune": ("PART", "what trains: auto, head, all, last:N or lora"),
    "student": ("NAME", "a small network that learns from the result"),
    "size": ("N", "size of the images in pixels"),
    "steps": ("N", "training steps of each stage"),
    "epochs": ("X", "the same in epochs of the labeled images"),
    "lr": ("X", "learning rate"),
    "baselines": ("true|false", "simple classifiers beside it (default: if cheap)"),
    "log": ("tensorboard", "write scalars for TensorBoard"),
    "write_config": (None, "write these settings to a file and end"),
    "verify": (None, "check every byte of finished work"),
}
_EXAMPLES = {
    "run": (
        "noisystudent run photos/labeled photos/unlabeled photos/test",
        "noisystudent run photos/labeled photos/unlabeled --budget 1h --backbone none",
    ),
    "plan": ("noisystudent plan photos/labeled photos/unlabeled --budget 5m",),
    "check": ("noisystudent check photos/labeled photos/unlabeled photos/test",),
    "train": ("noisystudent train photos/labeled --test photos/test --steps 1000",),
    "distill": ("noisystudent distill photos/labeled photos/unlabeled --teacher runs/photos-1 --student resnet18",),
    "pretrain": ("noisystudent pretrain photos/unlabeled --pretraining.epochs 50",),
}


# What argparse says, and the same in plain words.
_IN_WORDS = (
    (r"the following arguments are required: (.*)", "{command} needs {0}: {usage}."),
    (r"argument (?:\S+/)?(\S+): expected one argument", "{0} needs a value."),
    (r"argument (?:\S+/)?(\S+): expected at least one argument", "{0} needs at least one value."),
    (r"argument (?:\S+/)?(\S+): invalid int value: (.*)", "{0} is {1}; give a whole number."),
    (r"argument (?:\S+/)?(\S+): invalid float value: (.*)", "{0} is {1}; give a number."),
    (r"argument (?:\S+/)?(\S+): invalid choice: (.*) \(choose from (.*)\)", "{0} is {1}; give one of {2}."),
    (r"argument (?:\S+/)?(\S+): ignored explicit argument (.*)", "{0} takes no value, and {1} is given; leave it out."),
)


class Parser(argparse.ArgumentParser):
    """argparse with the package's errors (one line, exit code 2) and a help by topics.

    Without a topic, the help has a command's own options and its main settings; a topic is a section of the settings,
    or ``all``.
    """

    def __init__(self, command: str, description: str) -> None:
        super().__init__(
            prog=f"noisystudent {command}",
            description=description,
            allow_abbrev=False,
            add_help=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=_HELP_WIDTH),
        )
        self.command = command
        self.settings: dict[str, argparse._ArgumentGroup] = {}
        self.ways_in: set[str] = set()  # options that stand for settings in every command; their help has one wording
        self.add_argument(
            "-h",
            "--help",
            action=_ShowHelp,
            nargs="?",
            default=argparse.SUPPRESS,
            metavar="TOPIC",
            help="show this help",
        )

    def add_settings_group(self, section: str, description: str | None) -> argparse._ArgumentGroup:
        """Adds the group of a section of the settings; ``section`` is empty for those without one."""
        group = self.add_argument_group(section or SOURCES, description)
        self.settings[section or "sources"] = group
        return group

    def error(self, message: str) -> NoReturn:
        """Raises ``SettingsError`` with argparse's message in plain words."""
        raise SettingsError(f"{self._in_words(message)} '{self.prog} --help' lists the options.")

    def _in_words(self, message: str) -> str:
        for pattern, words in _IN_WORDS:
            if found := re.fullmatch(pattern, message, re.DOTALL):
                return words.format(*found.groups(), command=self.command, usage=self._usage())
        return f"{message}."

    def _usage(self) -> str:
        """The command with all that it needs."""
        required = [_usage_of(action) for action in self._actions if action.required or not action.option_strings]
        return " ".join([self.prog, *required])

    def help_on(self, topic: str | None) -> str:
        """The help: without a topic the main options, else the settings of a section, or ``all``.

        Raises:
            SettingsError: There is no such topic.
        """
        if topic is None and not self.settings:
            topic = ALL
        shown = self._shown(topic)
        formatter = self._get_formatter()
        if topic in (None, ALL):
            formatter.add_usage(f"{self._usage()} [options]", [], [])
            formatter.add_text(self.description)
        for title, description, actions in shown:
            formatter.start_section(title)
            formatter.add_text(description)
            formatter.add_arguments(actions)
            formatter.end_section()
        text = formatter.format_help()
        if topic is not None:
            return text
        examples = "".join(f"  {example}\n" for example in _EXAMPLES.get(self.command, ()))
        text += f"\nexamples:\n{examples}" if examples else ""
        topics = textwrap.fill(", ".join([*self.settings, ALL]), 78, initial_indent="  ", subsequent_indent="  ")
        return f"{text}\nmore settings, with --help TOPIC:\n{topics}\n"

    def _shown(self, topic: str | None) -> list[tuple[str | None, str | None, list[argparse.Action]]]:
        """Title, description and options of each part of the help."""
        in_sections = {id(action) for group in self.settings.values() for action in group._group_actions}
        own = [action for action in self._actions if id(action) not in in_sections]
        groups = [(group.title, group.description, list(group._group_actions)) for group in self.settings.values()]
        if topic == ALL:
            return [("options", None, own), *groups]
        if topic is not None:
            if topic not in self.settings:
                known = [*self.settings, ALL]
                near = nearest_name(topic, known)
                raise SettingsError(f"{self.prog} --help has no topic {topic!r}.{near} Topics: {', '.join(known)}.")
            group = self.settings[topic]
            return [(group.title, group.description, list(group._group_actions))]
        main = _MAIN.get("robustness" if self.command == "evaluate" else self.command, ())
        wanted = [action for action in self._actions if id(action) in in_sections and action.dest in main]
        own = [_brief(action) if action.dest in self.ways_in else action for action in own]
        return [("options", None, [*own, *(_brief(action) for action in wanted)])]


class _ShowHelp(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Prints the help on a topic and ends the command."""
        assert isinstance(parser, Parser)
        print(parser.help_on(values if isinstance(values, str) else None), end="")
        parser.exit()


def _brief(action: argparse.Action) -> argparse.Action:
    """The same option with the text of the help without a topic."""
    if action.dest not in _BRIEF:
        return action
    brief = copy(action)
    metavar, brief.help = _BRIEF[action.dest]
    brief.metavar = metavar or action.metavar
    return brief


def _usage_of(action: argparse.Action) -> str:
    name = str(action.metavar or "{" + ",".join(map(str, action.choices or ())) + "}")
    if not action.option_strings:
        return {"*": f"[{name} ...]", "+": f"{name} [{name} ...]"}.get(str(action.nargs), name)
    return " ".join([*action.option_strings[:1], name])
