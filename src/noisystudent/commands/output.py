"""The terminal output of commands: what their sources hold, the scores of ``evaluate``, the measures of a suite."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from noisystudent.commands.say import say
from noisystudent.config import Command, runtime_to_predict
from noisystudent.data.source import Source
from noisystudent.data.sources.open import open_source
from noisystudent.data.summary import summarize
from noisystudent.display.sources import source_lines
from noisystudent.display.wording import aligned, percent, plural, printable
from noisystudent.evaluation.measures import views
from noisystudent.evaluation.metrics.results import EvaluationResult, TemperatureScaling
from noisystudent.evaluation.results import RobustnessResult
from noisystudent.runtime.env import launcher_rank
from noisystudent.runtime.progress import Reporter

if TYPE_CHECKING:  # loads torch
    from noisystudent.evaluation.predict_source import PredictionSummary

CLASSES_SHOWN = 20  # with the most images


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
    if scaled.at_end:
        print("  note: the temperature is at the end of its range: fit it on more images, or harder ones, to use it")


def print_predictions(summary: PredictionSummary, out: Path | None, copy_to: Path | None) -> None:
    """Prints the answer for one image, or how many images are of each class; then what was written.

    Args:
        summary: What ``predict`` returned.
        out: Its table, if any.
        copy_to: The folder of the copies, if any.
    """
    if summary.top:
        rows = [[printable(name), percent(value)] for name, value in summary.top]
    else:
        counts = sorted(summary.counts.items(), key=lambda entry: -entry[1])
        found = [(name, count) for name, count in counts if count]
        rows = [[printable(name), f"{count:,}", percent(count / summary.images)] for name, count in found]
    for line in aligned(rows[:CLASSES_SHOWN]) if rows else []:
        print(line)
    if len(rows) > CLASSES_SHOWN:
        rest = sum(count for _, count in found[CLASSES_SHOWN:])
        print(f"and {plural(len(rows) - CLASSES_SHOWN, 'class', 'classes')} more with {plural(rest, 'image')}")
    if not summary.top:
        unread = f", {len(summary.failures):,} unreadable" if summary.failures else ""
        print(f"{plural(summary.images, 'image')}{unread}")
    if out:
        say(f"table: {out}")
    if copy_to:
        present = f", {summary.present:,} there already" if summary.present else ""
        others = f", {summary.others:,} left out: another file of that name is there" if summary.others else ""
        say(f"{plural(summary.copied, 'copy', 'copies')} in {copy_to}{present}{others}")


def print_robustness(result: RobustnessResult) -> None:
    """Prints the results of every measure in a suite."""
    if result.unreadable:
        print(f"  note: {plural(result.unreadable, 'image')} could not be read and left out of what follows")
    for view in views("calibration"):
        for line in view.lines(result):
            print(printable(line))
