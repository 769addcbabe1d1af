"""The page of a comparison: one table, and a chart for each measure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noisystudent.artifacts.folder import atomic_write
from noisystudent.reporting.read import parse_robustness
from noisystudent.reporting.robustness.view import robustness_view
from noisystudent.reporting.templates import template


def write_comparison(told: Mapping[str, Any], out: Path) -> Path:
    """Writes the page of what ``comparison.json`` holds, self-contained, everything from outside escaped.

    Raises ``ArtifactError`` when that is not what this program writes.
    """
    page = template("comparison.html").render(robustness=robustness_view(parse_robustness(told)))
    with atomic_write(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out
