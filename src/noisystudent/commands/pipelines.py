"""The verbs that tell a whole story: demo, run, plan, distill, report."""

from __future__ import annotations

import argparse
from pathlib import Path

from noisystudent.commands.options import with_settings
from noisystudent.errors import SettingsError


def demo(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """The main job on the digits."""
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="repeat with seeds 0 to N-1 (default 1)")
    parser.add_argument("--out", default="runs/demo", metavar="FOLDER", help="where to write (default runs/demo)")
    given = parser.parse_args(words)
    from noisystudent.commands.demo import demo, print_demo

    print_demo(demo(out=given.out, seeds=given.seeds))


def run(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Two folders in; a better classifier, a verdict and a page out."""
    given = with_settings(parser, words)
    config = given.pop("config")
    from noisystudent import api
    from noisystudent.config import resolve
    from noisystudent.reporting.terminal import print_summary
    from noisystudent.runtime.process_group import open_process_group

    summary = api.run(config=config, settings=given)
    if open_process_group().is_main:
        print_summary(summary)
        out = Path(resolve(given, config).settings.out)
        print(f"model: {out / 'best'}\npage: {out / 'report.html'}")


def plan(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """What run would do, or what one too large to try would take."""
    parser.add_argument(
        "--assume",
        type=Path,
        metavar="FILE.yaml",
        help="instead of a run at hand: what one would take in time, bytes and money, from the sizes, rates and prices "
        "in this file (docs/scale.md)",
    )
    given = with_settings(parser, words)
    assumed = given.pop("assume")
    if assumed:
        _plan_assumed(assumed, [name for name, value in given.items() if value is not None])
        return
    from noisystudent import api
    from noisystudent.artifacts.folder import State
    from noisystudent.display.wording import duration

    stages = api.plan(config=given.pop("config"), settings=given)
    shown = {State.COMPLETE: "done", State.PARTIAL: "begun", State.ABSENT: "to do", State.STALE: "to do again"}
    for stage in stages:
        cost = f"{stage.samples_seen:>12,} samples" if stage.samples_seen else ""
        left = f"  about {duration(stage.seconds)}" if stage.seconds else ""
        print(f"{shown[stage.state]:<12}{stage.name:<28}{cost}{left}")
    samples_seen = sum(stage.samples_seen for stage in stages if stage.state is not State.COMPLETE)
    print(
        f"left: {samples_seen:,} samples seen, about {duration(sum(stage.seconds for stage in stages))} on this machine"
    )


def _plan_assumed(file: Path, others: list[str]) -> None:
    if others:
        raise SettingsError(f"plan --assume takes everything from its file; leave out --{', --'.join(others)}.")
    from noisystudent.cost.estimate import estimate  # without torch
    from noisystudent.cost.read import read_assumptions
    from noisystudent.cost.text import describe

    print(describe(estimate(read_assumptions(file))))


def distill(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Teachers teach a student."""
    parser.add_argument(
        "--teacher",
        metavar="FOLDER[,FOLDER]",
        help="who teaches: checkpoints, or names of models to train on the labels first; several are an ensemble",
    )
    parser.add_argument(
        "--student", metavar="MODEL[,MODEL]", help="who learns; of several, each from the one before (default auto)"
    )
    given = with_settings(parser, words)
    from noisystudent import api
    from noisystudent.config import resolve
    from noisystudent.reporting.terminal import print_summary
    from noisystudent.runtime.process_group import open_process_group

    for option, name in (("teacher", "distillation.teachers"), ("student", "distillation.students")):
        if (told := given.pop(option)) is not None:
            given[name] = told
    config = given.pop("config")
    summary = api.distill(config=config, settings=given)
    if open_process_group().is_main:
        print_summary(summary)
        out = Path(resolve(given, config, recipe="distillation").settings.out)
        print(f"model: {out / 'best'}\npage: {out / 'report.html'}")


def report(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """The page of a finished run, again."""
    parser.add_argument("run", metavar="FOLDER", help="the folder of a finished run")
    given = parser.parse_args(words)
    from noisystudent import api

    print(api.report(given.run))
