"""The command line: finds the command, calls it, and turns the outcome into an exit code.

Commands import what they need inside their functions, so that ``--help`` stays quick.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from noisystudent import __version__
from noisystudent.commands import housekeeping, images, models, pipelines, stages
from noisystudent.commands.parser import Parser
from noisystudent.commands.say import say
from noisystudent.commands.study import study
from noisystudent.errors import NoisyStudentError, SettingsError, nearest_name
from noisystudent.runtime.allocator import keep_freed_memory
from noisystudent.runtime.env import disable_spin_wait, line_to_complete, require_single_process
from noisystudent.runtime.interruption import Terminated, raise_on_signals
from noisystudent.runtime.memory import describe_shortage, is_out_of_memory
from noisystudent.runtime.terminal import terminal_width, wrapped

# The commands whose work processes under torchrun share.
SHARED = ("run", "train", "pretrain", "distill", "fix", "label", "evaluate", "predict")
# The commands that go on where they were; the others are done in one go.
RESUMED = ("demo", "run", "study", "train", "pretrain", "distill", "fix", "label", "compare", "pack")
DONE, FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130  # exit codes
SIGNALED = 128  # and the number of the signal: the exit code of a process that a signal stopped
LESS_AT_ONCE = (
    "train.batch_size, runtime.label_batch_size, data.size or data.memory_limit_gb, if this command uses them"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: What the user wrote after ``noisystudent``; by default those of this process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 143 terminated.
    """
    if (asked := line_to_complete()) is not None:
        from noisystudent.commands.completion import complete

        complete(*asked, COMMANDS)
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    disable_spin_wait()
    raise_on_signals()
    try:
        _require_text(words)
        return _dispatch(words)
    except Terminated as stop:
        _say(f"stopped by {stop}; {_again(words)}")
        return SIGNALED + stop.number
    except KeyboardInterrupt:
        _say(f"interrupted; {_again(words)}")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        message = _message(error)
        if debug or not message:
            traceback.print_exc()
        _say(message or f"{type(error).__name__}: {error}")
        return BAD_USAGE if isinstance(error, SettingsError) else FAILED


def _again(words: Sequence[str]) -> str:
    is_suite = words[:1] == ["evaluate"] and any(word.startswith(("--suite", "--evaluation.")) for word in words)
    resumes = is_suite or (words and words[0] in RESUMED)
    return f"run the same command again to {'resume' if resumes else 'start over'}."


def _message(error: Exception) -> str:
    """What to say of an error in one line; empty for a mistake of this package."""
    if isinstance(error, NoisyStudentError):
        return str(error)
    if is_out_of_memory(error):
        return describe_shortage(error, LESS_AT_ONCE)
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or ''} (finished work is kept)"
    return ""


def _say(message: str) -> None:
    with suppress(OSError):  # the terminal is gone
        say(f"noisystudent: {message}", sys.stderr)


def _require_text(words: Sequence[str]) -> None:
    """Raises ``SettingsError`` for an argument that is not UTF-8: files of results could not hold it."""
    for word in words:
        if not word.isascii() and any("\ud800" <= letter <= "\udfff" for letter in word):
            shown = word.encode("utf-8", "backslashreplace").decode()
            raise SettingsError(
                f"the argument {shown} is not UTF-8. Rename the file or folder, or go into its folder and name it "
                "without that part."
            )


def _dispatch(words: list[str]) -> int:
    if words[:1] == ["help"] and len(words) > 1:
        words = [words[1], "--help", *words[2:]]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return DONE if words else BAD_USAGE
    if words[0] in ("-V", "--version"):
        print(f"noisystudent {__version__}")
        return DONE
    command, *rest = words
    if rest == ["help"] and not Path("help").exists():
        rest = ["--help"]
    if command not in COMMANDS:
        raise SettingsError(
            f"unknown command {command!r}; there are {', '.join(COMMANDS)}.{nearest_name(command, COMMANDS)}"
        )
    if command not in SHARED:
        require_single_process(command)
    if command != "train":  # there it gains little, and training needs a tenth more memory
        keep_freed_memory()
    description, function = COMMANDS[command]
    try:
        function(Parser(command, f"{description[0].upper()}{description[1:]}."), rest)
    except SystemExit as stop:  # argparse's --help
        return int(stop.code or 0)
    return DONE


def _overview() -> str:
    commands = "\n".join(f"  {command:<12}{text}" for command, (text, _) in COMMANDS.items())
    width = terminal_width(sys.stdout)
    commands = wrapped(commands, width, later=12 * " ")
    text = (
        "usage: noisystudent COMMAND [options]\n\n"
        "Train a better classifier from a few labeled and many unlabeled images, and learn whether the unlabeled ones "
        "helped.\n\n"
        f"{commands}\n\n"
        "'noisystudent COMMAND --help' lists the options of a command; --debug shows the traceback of an error.\n"
        "Start with: noisystudent demo"
    )
    return wrapped(text, width)


COMMANDS: dict[str, tuple[str, Callable[[Parser, list[str]], None]]] = {
    "demo": ("run Noisy Student training on scikit-learn's digits: offline, about two minutes", pipelines.demo),
    "run": (
        "train teacher and students on labeled and unlabeled images, and write a verdict and a page",
        pipelines.run,
    ),
    "check": ("audit images before training: unreadable, duplicates, sizes, labels that look wrong", pipelines.check),
    "plan": ("show the stages of a run, which of them are done, and how long the rest takes", pipelines.plan),
    "study": ("repeat the paper's ablations, or your own, on your images: a table with intervals", study),
    "train": ("train one model on labels, or on labels and selected pseudo labels", stages.train),
    "pretrain": ("pretrain a network on images without labels, for the others to start from", stages.pretrain),
    "distill": ("distill teachers into a student: soft targets, ensembles, teacher-free methods", pipelines.distill),
    "fix": ("fix a trained model for a larger test size, on labels (FixRes)", stages.fix),
    "label": ("label images with a checkpoint", stages.label),
    "select": ("select the pseudo labels to train on", stages.select),
    "evaluate": ("score a checkpoint on labeled images, with --suite also its robustness", stages.evaluate),
    "compare": ("compare the robustness of several checkpoints on the same images, and write a page", stages.compare),
    "predict": ("predict the class of images: counts, a table, copies sorted by class", models.predict),
    "export": ("write a model for timm, ONNX or torch.export, with a card, and compare it with torch", models.export),
    "show-noise": ("draw a sheet of images under noise, to check that their labels still hold", images.show_noise),
    "pack": ("pack a source into tar shards with an index, for large data and object stores", images.pack),
    "runs": ("list runs with their results, the newest first", housekeeping.runs),
    "open": ("open the page of a run in the browser", housekeeping.open_page),
    "watch": ("show the page of a run while it goes on, in the browser of this machine", housekeeping.watch),
    "clean": ("remove work that was set aside because settings changed, after asking", housekeeping.clean),
    "doctor": ("show what this machine offers a run, measured in seconds, and what to change", housekeeping.doctor),
    "completion": ("print the script that makes bash, zsh or fish complete this command", housekeeping.completion),
    "report": ("write the page of a finished run again", pipelines.report),
}
"""Every command: what it does, and its function."""
