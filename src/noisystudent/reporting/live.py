"""A run while it goes on: its stages, how far the current one is, the accuracies until now; from its files alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from markupsafe import Markup

from noisystudent.display.charts import Series, curve_chart
from noisystudent.display.round_chart import Step, round_chart
from noisystudent.reporting.templates import template

Values = dict[str, Any]

RELOAD = 5  # seconds between reloads of the page
QUIET = 600  # seconds without a change after which the page says that the run may have been stopped
_DEPTH = 3  # folders of stages are at most this deep
_CURVE_POINTS = 200
_LARGEST = 1e30  # of a number that is shown; a loss that is not finite is none
_ARCHIVED = re.compile(r"\.[0-9a-f]{12}$")  # how the name of a folder ends that was set aside


@dataclass(frozen=True, slots=True)
class LiveStage:
    """One stage of a run; ``done`` and ``total`` count training steps, 0 where it does not train."""

    name: str
    state: Literal["done", "begun", "to do"]
    done: int = 0
    total: int = 0
    loss: float | None = None


def is_finished(folder: Path) -> bool:
    """Whether the last command in a run's folder came to its end, so that ``report.html`` is of this run."""
    try:
        begun, ended = ((folder / name).stat().st_mtime_ns for name in ("run.json", "summary.json"))
    except OSError:
        return False
    return ended >= begun and (folder / "report.html").is_file()


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, also of one that has just begun."""
    return any((folder / name).is_file() for name in ("run.json", ".lock"))


def live_page(folder: Path, now: float) -> str:
    """The page of a run that goes on, which loads itself again every ``RELOAD`` seconds; every text is escaped.

    Args:
        folder: The folder of the run; files that are missing or half written are passed over.
        now: Seconds since 1970.
    """
    facts = _read(folder / "run.json")
    stages = live_stages(folder, _names(facts))
    current = next((stage for stage in stages if stage.state == "begun"), None)
    return template("live.html").render(
        name=folder.resolve().name,
        reload=RELOAD,
        stages=stages,
        finished=sum(stage.state == "done" for stage in stages),
        current=current,
        quiet=_seconds_since_change(folder, now),
        limit=QUIET,
        round_chart=_accuracies(folder),
        loss_chart=_losses(folder / current.name) if current else None,
        sources=_sources(facts),
    )


def live_stages(folder: Path, expected: Sequence[str]) -> list[LiveStage]:
    """The stages of a run: those that it expects in their order, others in the order in which they began."""
    marks = [mark for depth in range(1, _DEPTH + 1) for mark in folder.glob("*/" * depth + "inputs.json")]
    begun = {mark.parent.relative_to(folder).as_posix(): _time_of(mark) for mark in marks if _is_stage(mark, folder)}
    others = [name for name in sorted(begun, key=lambda name: begun[name]) if name not in expected]
    return [_stage(folder, name) for name in (*expected, *others)]


def _is_stage(mark: Path, folder: Path) -> bool:
    """Whether a folder with inputs is a stage, not what was set aside nor the delivered copy."""
    parts = mark.parent.relative_to(folder).parts
    return parts[0] != "best" and not any(_ARCHIVED.search(part) for part in parts)


def _stage(folder: Path, name: str) -> LiveStage:
    path = folder / name
    inputs = _read(path / "inputs.json")
    if not inputs:
        return LiveStage(name, "to do")
    if (path / "manifest.json").is_file():
        return LiveStage(name, "done")
    train = inputs.get("train")
    total = train.get("steps") if isinstance(train, dict) else None
    rows = _metrics(path)
    last: Mapping[str, Any] = rows[-1] if rows else {}
    return LiveStage(name, "begun", _whole(last.get("step")), _whole(total), _number(last.get("loss")))


def _accuracies(folder: Path) -> Markup | None:
    """The accuracies of the teacher and the students until now, beside the labels-only model if it is there."""
    steps = [Step("teacher", _top1(folder / "scores" / "teacher"))]
    number = 1
    while (scores := folder / "scores" / f"round-{number}").is_dir():
        selection = _read(folder / f"round-{number}" / "selection" / "summary.json")
        used, rows = (selection.get(name) for name in ("selected", "rows"))
        known = isinstance(used, int) and isinstance(rows, int)
        steps.append(Step(f"round {number}", _top1(scores), used if known else None, rows if known else None))
        number += 1
    if (online := folder / "scores" / "online").is_dir():
        steps.append(Step("online", _top1(online)))
    return round_chart(steps, _top1(folder / "scores" / "control"), title="Accuracy by round, until now")


def _top1(folder: Path) -> float | None:
    scores = _read(folder / "scores.json")
    for role in ("test", "validation"):
        held_out = scores.get(role)
        if isinstance(held_out, dict):
            return _number(held_out.get("top1"))
    return None


def _losses(folder: Path) -> Markup | None:
    """The loss of the current training over its steps."""
    rows = _metrics(folder)
    every = -(-len(rows) // _CURVE_POINTS) or 1
    found = [(_number(row.get("step")), _number(row.get("loss"))) for row in rows[::every]]
    points = tuple((step, loss) for step, loss in found if step is not None and loss is not None)
    if len(points) < 2:
        return None
    return curve_chart([Series("loss", points)], title="Loss of this stage", x_label="step", y_label="loss")


def _sources(facts: Values) -> list[str]:
    """What the run trains on, a line per source."""
    sources = facts.get("sources")
    found = sources.items() if isinstance(sources, dict) else ()
    return [
        f"{role}: {source['images']:,} images from {source.get('name', '')}"
        for role, source in found
        if isinstance(source, dict) and isinstance(source.get("images"), int)
    ]


def _names(facts: Values) -> list[str]:
    """The stages that a run expects; a name that leads out of its folder is none."""
    stages = facts.get("stages")
    named = [name for name in stages if isinstance(name, str)] if isinstance(stages, list) else []
    return [name for name in named if not {"", ".", ".."} & set(name.split("/")) and "\0" not in name]


def _seconds_since_change(folder: Path, now: float) -> float:
    files = (path for depth in range(_DEPTH + 1) for path in folder.glob("*/" * depth + "*") if path.is_file())
    return max(0.0, now - max((_time_of(path) for path in files), default=now))


def _time_of(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # it was a temporary file
        return 0.0


def _read(path: Path) -> Values:
    """A JSON object; an empty one where the file is missing or not such."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _metrics(folder: Path) -> list[Values]:
    """The rows of ``metrics.jsonl`` that are whole."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and abs(value) < _LARGEST else None
