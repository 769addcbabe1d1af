"""The run's own noise on its own pictures, for its page."""

from __future__ import annotations

from noisystudent.data.sample import evenly_spread
from noisystudent.models.settings import ModelPlan
from noisystudent.noise.sheet import draws_sheet
from noisystudent.pipeline.context import Workshop
from noisystudent.pipeline.feeding import input_noise
from noisystudent.reporting.sheet import write_sheet

NOISE_SHEET = "noise.png"
PICTURES, EPOCHS = 6, 7


def write_noise_sheet(workshop: Workshop, plan: ModelPlan, strength: float) -> None:
    """Writes ``noise.png``: some labeled pictures as the teacher saw them in its first epochs."""
    labeled = workshop.roles.labeled
    rows = evenly_spread(len(labeled), PICTURES)
    noise = input_noise(workshop, "teacher", plan, strength)
    sheet = draws_sheet(labeled.take(rows), noise, rows, EPOCHS)
    write_sheet(workshop.folder / NOISE_SHEET, sheet.columns, sheet.cells)
