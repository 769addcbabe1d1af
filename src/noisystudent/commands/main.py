"""The command line: finds the verb, calls it, and turns what happens into an exit code.

Only the verb that is asked for imports its room, inside its function, so that ``--help`` stays quick.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from noisystudent import __version__
from noisystudent.commands import images as images
from noisystudent.commands import pipelines as running
from noisystudent.commands import stages
from noisystudent.commands.options import Parser
from noisystudent.errors import NoisyStudentError, SettingsError, nearest_name
from noisystudent.runtime.env import disable_spin_wait, require_single_process

# The verbs whose work processes under torchrun share.
SHARED = ("run", "train", "distill", "label", "evaluate", "predict")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 0 done, 1 it failed, 2 it was asked wrongly, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    disable_spin_wait()
    try:
        return _dispatch(words)
    except NoisyStudentError as error:
        if debug:
            traceback.print_exc()
        print(f"noisystudent: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    except KeyboardInterrupt:
        print("noisystudent: interrupted; run the same command again to go on.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if debug:
            traceback.print_exc()
        print(
            f"noisystudent: {error.strerror or error}: {error.filename or ''} (finished work is kept)", file=sys.stderr
        )
        return 1


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        print(f"noisystudent {__version__}")
        return 0
    command, *rest = words
    if command not in COMMANDS:
        raise SettingsError(
            f"unknown verb {command!r}; there are {', '.join(COMMANDS)}.{nearest_name(command, COMMANDS)}"
        )
    if command not in SHARED:
        require_single_process(command)
    try:
        COMMANDS[command][1](
            Parser(prog=f"noisystudent {command}", description=COMMANDS[command][0], allow_abbrev=False), rest
        )
    except SystemExit as stop:  # argparse's --help
        return int(stop.code or 0)
    return 0


def _overview() -> str:
    commands = "\n".join(f"  {command:<10} {text}" for command, (text, _) in COMMANDS.items())
    return (
        "usage: noisystudent COMMAND [options]\n\n"
        "A few labels and many unlabeled images in, a better classifier and an honest verdict out.\n\n"
        f"{commands}\n\n"
        "'noisystudent COMMAND --help' lists a verb's options, --debug shows where an error came from.\n"
        "Start with: noisystudent demo"
    )


COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser, list[str]], None]]] = {
    "demo": ("the main job on scikit-learn's digits, offline, in about two minutes", running.demo),
    "run": ("two folders in; a better classifier, a verdict and a page out", running.run),
    "plan": ("what run would do, what of it is done, and how long the rest takes", running.plan),
    "train": ("train one model, on labels or on labels and selected pseudo labels", stages.train),
    "distill": (
        "let teachers teach a student: soft targets, ensembles, teacher-free methods",
        running.distill,
    ),
    "label": ("let a checkpoint label a source", stages.label),
    "select": ("choose which pseudo labels to train on", stages.select),
    "evaluate": ("score a checkpoint on labeled images", stages.evaluate),
    "compare": ("robustness of several checkpoints on the same images, paired, and a page", stages.compare),
    "predict": ("write a CSV of file, class, confidence for a folder", stages.predict),
    "show-noise": ("a contact sheet of images under noise, to see whether the label survives", images.show_noise),
    "pack": ("write any source as tar shards with an index, for large data and object stores", images.pack),
    "report": ("make the page of a finished run again", running.report),
}
