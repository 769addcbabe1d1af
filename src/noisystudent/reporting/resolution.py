"""The chart of accuracy over resolution as a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from noisystudent.artifacts.folder import atomic_write
from noisystudent.display.charts import Series, curve_chart
from noisystudent.evaluation.metrics.results import ScoresAtSize
from noisystudent.reporting.standalone import standalone
from noisystudent.results.run import RunSummary


def resolution_chart(by_name: Mapping[str, Sequence[ScoresAtSize]]) -> Markup:
    """The chart of accuracy over resolution, with a line per model."""
    series = [Series(name, tuple((float(at.size), 100 * at.top1) for at in scores)) for name, scores in by_name.items()]
    return curve_chart(
        series, title="Accuracy over resolution", x_label="edge of the input (pixels)", y_label="top-1 accuracy (%)"
    )


def fix_chart(summary: RunSummary) -> Markup | None:
    """Accuracy over resolution of the models of a run that were fixed, before and after; None without scores."""
    role = summary.reporting_role()
    lines = {
        f"{model.model}{' fixed' if fixed else ''}": [
            scores for at in model.scores if at.fixed == fixed and (scores := at.scores(role))
        ]
        for model in summary.fixed
        for fixed in (False, True)
    }
    shown = {name: scores for name, scores in lines.items() if scores}
    return resolution_chart(shown) if shown else None


def is_chart(path: Path) -> bool:
    """Whether a file is a chart that this program wrote."""
    try:
        return path.read_text(encoding="utf-8").startswith('<svg xmlns="http://www.w3.org/2000/svg" class="chart"')
    except (OSError, UnicodeDecodeError):
        return False


def write_chart(by_name: Mapping[str, Sequence[ScoresAtSize]], path: Path) -> None:
    """Writes the chart of accuracy over resolution as an SVG file."""
    with atomic_write(path) as temporary:
        temporary.write_text(standalone(resolution_chart(by_name)), encoding="utf-8")
