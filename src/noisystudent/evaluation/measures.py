"""The robustness measures: each is a folder, a line in the list here, and a field of ``RobustnessResult``."""

from __future__ import annotations

from dataclasses import dataclass

from noisystudent.evaluation.adversarial import view as adversarial
from noisystudent.evaluation.calibration import view as calibration
from noisystudent.evaluation.corruptions import view as corruptions
from noisystudent.evaluation.natural import view as natural
from noisystudent.evaluation.perturbations import view as perturbations
from noisystudent.evaluation.view import MeasureView


@dataclass(frozen=True, slots=True)
class Measure:
    """A robustness measure.

    Attributes:
        name: its name in ``evaluation.suite``, and its field in ``RobustnessResult``.
        folder: its folder beside this module, with ``measure.py``, ``results.py`` and ``view.py``.
        view: how its results are displayed.
    """

    name: str
    folder: str
    view: MeasureView


# In the order of measuring: calibration reads the results under corruptions.
MEASURES = (
    Measure("corruptions", "corruptions", corruptions.VIEW),
    Measure("perturbations", "perturbations", perturbations.VIEW),
    Measure("natural", "natural", natural.VIEW),
    Measure("attacks", "adversarial", adversarial.VIEW),
    Measure("calibration", "calibration", calibration.VIEW),
)


def views(*first: str) -> list[MeasureView]:
    """The views of all measures: those of the measures named ``first``, then the others in the order of the list."""
    order = {name: position for position, name in enumerate(first)}
    return [measure.view for measure in sorted(MEASURES, key=lambda measure: order.get(measure.name, len(order)))]
