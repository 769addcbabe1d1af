"""The command ``study``: the paper's ablations, or others, on a user's images."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from noisystudent.commands.options import with_settings
from noisystudent.commands.parser import Parser
from noisystudent.commands.say import announce, say
from noisystudent.runtime.terminal import terminal_width

if TYPE_CHECKING:
    from noisystudent.results.facts import PlannedStage


def study(parser: Parser, arguments: list[str]) -> None:
    """Runs a study and prints its table, or with ``--plan`` what it would take."""
    from noisystudent.pipeline.studies.paper import PAPER_STUDIES

    parser.add_argument(
        "name",
        metavar="NAME|FILE.yaml",
        help=f"one of the paper's ablations ({', '.join(PAPER_STUDIES)}), or a file of cells of your own "
        "(docs/study.md)",
    )
    parser.add_argument(
        "--seeds", default="3", metavar="N|N,N,...", help="a number of seeds, or the seeds themselves (default 3)"
    )
    parser.add_argument("--plan", action="store_true", help="say what it would take, and train nothing")
    parser.add_argument(
        "--shared",
        default="",
        metavar="FOLDER,...",
        help="folders of other studies, whose finished stages are taken over where their inputs are the same",
    )
    given = with_settings(parser, arguments, "study")
    announce(parser.command)
    from noisystudent import api
    from noisystudent.pipeline.studies.cells import read_seeds
    from noisystudent.reporting.study import PAGE, study_text

    name, config, out = given.pop("name"), given.pop("config"), given.pop("out", None)
    seeds, only_plan = read_seeds(given.pop("seeds")), given.pop("plan")
    shared = [folder for folder in given.pop("shared").split(",") if folder]
    if only_plan:
        _print_plan(api.plan_study(name, seeds=seeds, out=out, config=config, settings=given), len(seeds))
        return
    out = out or _out_of(config) or f"runs/study-{Path(name).stem}"
    result = api.study(name, seeds=seeds, out=out, shared=shared, config=config, settings=given)
    say(study_text(result, terminal_width(sys.stdout)))
    say(f"page: {Path(out) / PAGE}")


def _out_of(config: str | None) -> str | None:
    """The folder that a file of settings names."""
    from noisystudent.config import read_settings

    return read_settings(Path(config)).get("out") if config else None


def _print_plan(cells: Mapping[str, Sequence[PlannedStage]], seeds: int) -> None:
    from noisystudent.display.wording import duration

    total = 0.0
    for name, stages in cells.items():
        left = [stage for stage in stages if stage.state != "complete"]
        seconds = sum(stage.seconds or 0.0 for stage in left)
        samples = sum(stage.samples_seen for stage in left)
        total += seconds
        print(f"{name:<40}{samples:>16,} samples seen  about {duration(seconds)}")
    print(f"one seed takes about {duration(total)} on this machine, {seeds} about {duration(seeds * total)}")
