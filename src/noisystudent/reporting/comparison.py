"""The page of a comparison of models: one table, and the charts of every measure."""

from __future__ import annotations

from pathlib import Path

from noisystudent.artifacts.folder import atomic_write
from noisystudent.evaluation.results import ComparisonResult
from noisystudent.reporting.robustness import robustness_view
from noisystudent.reporting.templates import template


def write_comparison(comparison: ComparisonResult, out: Path) -> Path:
    """Writes the page of a comparison as one HTML file that needs no other file.

    Args:
        comparison: the results of all models; every text in them is escaped.
        out: the file to write.

    Returns:
        ``out``.
    """
    page = template("comparison.html").render(robustness=robustness_view(comparison))
    with atomic_write(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out
