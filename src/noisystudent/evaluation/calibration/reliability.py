"""Confidence and accuracy: the bins of a reliability diagram, and the diagram."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from noisystudent.display import charts
from noisystudent.evaluation.metrics.results import CalibrationBin


def reliability_chart(bins: Sequence[CalibrationBin], title: str) -> Markup | None:
    """Draws the reliability diagram of the bins that hold images; returns None if all bins are empty."""
    filled = [(entry.low, entry.high, entry.confidence, entry.accuracy, entry.count) for entry in bins if entry.count]
    if not filled:
        return None
    return charts.reliability_diagram(
        filled, title=title, x_label="mean confidence (share, 0 to 1)", y_label="accuracy (share, 0 to 1)"
    )
