"""A table of runs: what each delivered, how sure it is, and what it took."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from noisystudent.artifacts.typed_json import read_result
from noisystudent.display import wording
from noisystudent.errors import ArtifactError
from noisystudent.results.run import RunSummary

COLUMNS = ("run", "state", "top-1", "labels only", "verdict", "delivered", "took", "changed")
_DEPTH = 3  # of folders below the one that is listed


def rows_of_runs(folder: Path) -> list[tuple[str, ...]]:
    """The cells of a row per run or distillation in a folder, the one that changed last first.

    Args:
        folder: the folder that holds runs, up to three levels below it, or a run.
    """
    found = {facts.parent for depth in range(_DEPTH + 1) for facts in folder.glob("*/" * depth + "run.json")}
    return [_row(run, folder) for run in sorted(found, key=_changed, reverse=True)]


def _row(run: Path, parent: Path) -> tuple[str, ...]:
    name = run.relative_to(parent).as_posix() if run != parent else run.resolve().name
    changed = datetime.fromtimestamp(_changed(run)).strftime("%Y-%m-%d %H:%M")
    if not (run / "summary.json").is_file():
        return name, "unfinished", "", "", "", "", "", changed
    try:
        summary = read_result(RunSummary, run / "summary.json")
    except ArtifactError:
        return name, "unreadable", "", "", "", "", "", changed
    role = summary.reporting_role()
    scores = summary.student.scores(role)
    control = summary.control.scores(role) if summary.control else None
    took = wording.duration(summary.cost.seconds) if summary.cost.seconds is not None else ""
    top1, labels_only = (wording.percent(one.top1) if one else "" for one in (scores, control))
    return name, "finished", top1, labels_only, summary.verdict.in_short, summary.delivered, took, changed


def _changed(run: Path) -> float:
    """When the run's last result was written, in seconds since 1970."""
    results = [run / name for name in ("summary.json", "run.json")]
    return max(file.stat().st_mtime for file in results if file.is_file())
