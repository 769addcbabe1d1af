"""The terminal output of commands: what their sources hold, the scores of ``evaluate``, the measures of a suite."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from noisystudent.commands.say import say
from noisystudent.config import Command, runtime_to_predict
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.data.summary import summarize
from noisystudent.display.sources import source_lines
from noisystudent.display.wording import plural, printable
from noisystudent.evaluation.measures import views
from noisystudent.evaluation.metrics.results import EvaluationResult, TemperatureScaling
from noisystudent.evaluation.results import RobustnessResult
from noisystudent.runtime.env import launcher_rank
from noisystudent.runtime.progress import Reporter


def open_and_describe(spec: str, *, labeled: bool, role: str = "source") -> Source:
    """Opens a source, prints to standard error what it holds and passes over, and returns it.

    Args:
        spec: The source, as in ``docs/sources.md``.
        labeled: Whether its labels are used.
        role: What the source is for, in the lines.
    """
    source = open_source(spec, labeled=labeled)
    if launcher_rank()[0] == 0:
        for line in source_lines(role, summarize(source)):
            say(line, sys.stderr)
    return source


def warn_of_emulation(given: Mapping[str, object], command: Command) -> None:
    """Says how much slower the precision of the settings is than float32, where this machine only emulates it.

    Args:
        given: The settings that the user gave.
        command: The command that uses them.
    """
    from noisystudent.runtime import precision  # loads torch

    reporter = Reporter(quiet=launcher_rank()[0] != 0)
    precision.warn_of_emulation(runtime_to_predict(given, command=command), reporter)


def print_scores(scores: EvaluationResult) -> None:
    """Prints the scores of a model on one source, with those after temperature scaling if there are any."""
    scaled = scores.temperature_scaling
    after = {"ece": scaled.ece, "nll": scaled.nll, "brier": scaled.brier} if scaled else {}
    for name in ("top1", "top5", "ece", "nll", "brier"):
        value = getattr(scores, name)
        if value is None:  # top-5 accuracy of at most five classes
            continue
        scaled_text = (
            f" -> {after[name]:.4f} at temperature {scaled.temperature:.2f}" if scaled and name in after else ""
        )
        print(f"{name:<6} {value:.4f}{scaled_text}")
    print(f"count  {scores.count}")
    for key, reason in scores.unreadable.items():
        print(f"  note: left out, since it could not be read: {printable(key)} ({printable(reason)})")
    if scores.classes:
        say(
            f"  note: the images are of {scores.classes}; answers are among all of them, accuracies over these images' "
            "classes"
        )
    if scores.training_images:
        print(
            f"  warning: {scores.training_images:,} of the {scores.count:,} images are among the labeled images that "
            "the model was trained on, so the scores are too high; score it on other images"
        )
    if scaled:
        _print_temperature(scaled)
    for at in scores.by_size:
        top5 = f"  top5 {at.top5:.4f}" if at.top5 is not None else ""
        print(f"{at.size:>4} px  top1 {at.top1:.4f}{top5}")


def _print_temperature(scaled: TemperatureScaling) -> None:
    say(f"temperature fitted on {scaled.count} images of {scaled.source}")
    if scaled.left_out:
        print(f"  note: {scaled.left_out} more were left out, since the same images are scored")
    if scaled.training_images:
        print(
            f"  warning: {scaled.training_images:,} of the {scaled.count:,} images are among the labeled images that "
            "the model was trained on and is too sure of; fit the temperature on other images"
        )
    if scaled.at_end:
        print("  note: the temperature is at the end of its range: fit it on more images, or harder ones, to use it")


def print_robustness(result: RobustnessResult) -> None:
    """Prints the results of every measure in a suite."""
    if result.unreadable:
        print(f"  note: {plural(result.unreadable, 'image')} could not be read and left out of what follows")
    for view in views("calibration"):
        for line in view.lines(result):
            print(printable(line))
