"""Confidence beside accuracy: the bins that a file holds, and the diagram that is drawn of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from noisystudent.display import charts


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationBin:
    """One confidence bin of a reliability diagram; an empty bin has neither confidence nor accuracy."""

    low: float
    high: float
    count: int
    confidence: float | None = None
    accuracy: float | None = None


def reliability_chart(bins: Sequence[CalibrationBin], title: str) -> Markup | None:
    """The reliability diagram of the bins that hold images; None where none does."""
    filled = [
        (one.low, one.high, one.confidence, one.accuracy, one.count)
        for one in bins
        if one.count and one.confidence is not None and one.accuracy is not None
    ]
    if not filled:
        return None
    return charts.reliability_diagram(
        filled, title=title, x_label="mean confidence (share, 0 to 1)", y_label="accuracy (share, 0 to 1)"
    )
