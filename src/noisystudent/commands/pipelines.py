"""The commands that make a whole run: demo, run, plan, distill, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from noisystudent.commands.options import add_start, add_verify, with_settings
from noisystudent.commands.parser import Parser
from noisystudent.commands.say import announce, say
from noisystudent.errors import SettingsError

if TYPE_CHECKING:  # loads torch
    from noisystudent.pipeline.run_folder import Run


def demo(parser: Parser, arguments: list[str]) -> None:
    """Runs Noisy Student training on the digits."""
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="repeat with seeds 0 to N-1 (default 1)")
    parser.add_argument("--out", default="runs/demo", metavar="FOLDER", help="folder of the run (default runs/demo)")
    parser.add_argument(
        "--backbone",
        action="store_true",
        help="also run on the frozen features of EfficientNet-Lite0 (noisystudent[backbone]), and say which is better",
    )
    given = parser.parse_args(arguments)
    announce(parser.command)
    from noisystudent.commands.demo import demo, print_demo

    print_demo(demo(out=given.out, seeds=given.seeds, backbone=given.backbone))


def run(parser: Parser, arguments: list[str]) -> None:
    """Trains teacher and students, and prints the scores and the verdict."""
    add_start(parser)
    add_verify(parser)
    given = with_settings(parser, arguments, "run")
    announce(parser.command)
    from noisystudent import api

    own = {name: given.pop(name) for name in ("config", "start", "verify")}
    _print_run(api.run(**own, settings=given))


def _print_run(run: Run) -> None:
    from noisystudent.reporting.terminal import closing_lines, print_summary
    from noisystudent.runtime.process_group import open_process_group

    if open_process_group().is_main:
        print_summary(run.summary)
        say("\n".join(closing_lines(run.summary, run.path)))


def plan(parser: Parser, arguments: list[str]) -> None:
    """Prints the stages of a run and how long they take, or the cost of a run too large to try."""
    parser.add_argument(
        "--assume",
        type=Path,
        metavar="FILE.yaml",
        help="estimate the time, storage and cost of a large run from the sizes, rates and prices in this file "
        "instead (docs/scale.md)",
    )
    add_start(parser)
    given = with_settings(parser, arguments, "plan")
    assumptions = given.pop("assume")
    if assumptions:
        _plan_assumed(assumptions, [name for name, value in given.items() if value is not None])
        return
    announce(parser.command)
    from noisystudent import api
    from noisystudent.display.wording import aligned, duration

    result = api.plan(config=given.pop("config"), start=given.pop("start"), settings=given)
    texts = {"complete": "done", "partial": "begun", "absent": "to do", "stale": "to do again"}
    rows = [
        [
            f"{texts[stage.state]:<12}{stage.name}",
            f"{stage.samples_seen:,} samples" if stage.samples_seen else "",
            f"{stage.images_predicted:,} images" if stage.images_predicted else "",
            f"about {duration(stage.seconds)}" if stage.seconds else "",
        ]
        for stage in result.stages
    ]
    print("\n".join(aligned(rows)))
    without = f", without {', '.join(result.without_estimate)}" if result.without_estimate else ""
    say(
        f"left: {result.samples_left:,} samples seen in training, {result.predicted_left:,} images to label and score, "
        f"about {duration(result.seconds_left)} on this machine{without}"
    )


def check(parser: Parser, arguments: list[str]) -> None:
    """Prints what is in the sources of a run, and what of it a user should look at before training."""
    given = with_settings(parser, arguments, "check")
    if "out" in given:
        raise SettingsError("check writes nothing; leave out --out.")
    announce(parser.command)
    from noisystudent import api
    from noisystudent.display.wording import plural
    from noisystudent.reporting.check_text import check_lines, things_to_mend

    found = api.check(settings=given)
    say("\n".join(check_lines(found)))
    count = things_to_mend(found)
    say(f"{plural(count, 'thing')} to look at" if count else "nothing to mend was found")


def _plan_assumed(file: Path, others: list[str]) -> None:
    if others:
        raise SettingsError(f"plan --assume takes everything from its file; leave out --{', --'.join(others)}.")
    from noisystudent.cost.estimate import estimate  # without torch
    from noisystudent.cost.read import read_assumptions
    from noisystudent.cost.text import describe

    say(describe(estimate(read_assumptions(file))))


def distill(parser: Parser, arguments: list[str]) -> None:
    """Distills teachers into a student, and prints the scores and the verdict."""
    parser.add_argument(
        "--teacher",
        metavar="FOLDER[,FOLDER]",
        help="short for --distillation.teachers: checkpoints, or names of models to train on the labels first; several "
        "form an ensemble",
    )
    parser.add_argument(
        "--student",
        metavar="MODEL[,MODEL]",
        help="short for --distillation.students: names of models; of several, each learns from the one before",
    )
    add_start(parser)
    add_verify(parser)
    named = {"teacher": "distillation.teachers", "student": "distillation.students"}
    given = with_settings(parser, arguments, "distill", named)
    announce(parser.command)
    from noisystudent import api

    own = {name: given.pop(name) for name in ("config", "start", "verify")}
    _print_run(api.distill(**own, settings=given))


def report(parser: Parser, arguments: list[str]) -> None:
    """Writes the page of a finished run again."""
    parser.add_argument("run", metavar="FOLDER", help="folder of a finished run")
    given = parser.parse_args(arguments)
    announce(parser.command)
    from noisystudent import api

    say(api.report(given.run))
