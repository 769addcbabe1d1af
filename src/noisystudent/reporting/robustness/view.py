"""All that a page shows of the robustness of several classifiers."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from noisystudent.reporting.robustness.figures import CHARTED, figures
from noisystudent.reporting.robustness.notes import explanations, measured_sentence, natural_notes, notes, warnings
from noisystudent.reporting.robustness.records import Robustness
from noisystudent.reporting.robustness.table import Table, natural_table, robustness_table


@dataclass(frozen=True, slots=True)
class RobustnessView:
    """What ``robustness.html`` shows: ``charts`` under the names of what they are about."""

    sentence: str
    table: Table
    notes: list[str]
    explanations: list[str]
    warnings: list[str]
    charts: dict[str, list[Markup]]
    natural: Table | None
    natural_notes: list[str]
    left_out: int


def robustness_view(told: Robustness) -> RobustnessView:
    """The table, the charts and what must be said beside them; ``left_out`` classifiers are in the table alone."""
    return RobustnessView(
        sentence=measured_sentence(told),
        table=robustness_table(told),
        notes=notes(told),
        explanations=explanations(told),
        warnings=warnings(told),
        charts=figures(told),
        natural=natural_table(told),
        natural_notes=natural_notes(told),
        left_out=max(0, len(told.measured) - CHARTED),
    )
