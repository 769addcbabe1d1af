"""The run's own noise on its own pictures, for its page."""

from __future__ import annotations

import numpy as np

from noisystudent.models.settings import ModelPlan
from noisystudent.noise.sheet import draws_sheet
from noisystudent.reporting.sheet import write_sheet
from noisystudent.rounds.feeding import input_noise
from noisystudent.rounds.workshop import Workshop

NOISE_SHEET = "noise.png"
PICTURES, EPOCHS = 6, 7


def write_noise_sheet(workshop: Workshop, plan: ModelPlan, strength: float) -> None:
    """Writes ``noise.png``: some labeled pictures as the teacher saw them in its first epochs."""
    labeled = workshop.roles.labeled
    rows = np.unique(np.linspace(0, len(labeled) - 1, PICTURES).round().astype(np.int64))
    noise = input_noise(workshop, "teacher", plan, strength)
    sheet = draws_sheet(labeled.take(rows), noise, rows, EPOCHS)
    write_sheet(workshop.folder / NOISE_SHEET, sheet.columns, sheet.cells)
