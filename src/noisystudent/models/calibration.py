"""The temperature of a checkpoint, in a small file beside its weights: it makes confidences match accuracies.

It is fitted on labels that the model did not see in training: the run's validation labels, or by cross-fitting.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from noisystudent.artifacts.folder import write_json
from noisystudent.errors import ModelError

CALIBRATION = "calibration.json"
TEMPERATURES = (0.05, 20.0)  # the range in which a temperature is fitted

FittedOn = Literal["validation labels", "cross-fitted labels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A temperature, the number of labels that it was fitted on, and which labels those are."""

    temperature: float
    labels: int
    fitted_on: FittedOn

    @property
    def is_usable(self) -> bool:
        """False if the fit ran to an end of its range, as for a model that is right about every label."""
        return TEMPERATURES[0] < self.temperature < TEMPERATURES[1]

    def apply(self, log_probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Log-probabilities [N, K] at the temperature T: the logarithm of p^(1/T), normalized per row."""
        return np.asarray(log_softmax(log_probabilities / np.float32(self.temperature), axis=1), np.float32)


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Writes the temperature of a checkpoint into its folder."""
    write_json(folder / CALIBRATION, asdict(calibration))


def read_calibration(folder: Path) -> Calibration | None:
    """The temperature of a checkpoint; None where none is recorded, or not readably."""
    try:
        content = json.loads((folder / CALIBRATION).read_bytes())
        found = Calibration(**content)
        lowest, highest = TEMPERATURES
        valid = lowest <= found.temperature <= highest and found.labels > 0 and isinstance(found.fitted_on, str)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return found if valid else None


def usable_calibration(calibration: Calibration | None, name: str) -> Calibration:
    """The calibration of the model ``name``; raises ``ModelError`` where there is none, or none to be used."""
    if calibration is None:
        raise ModelError(
            f"{name} has no temperature to calibrate with. A run stores one in its best/ if it has validation labels "
            "(run --validation, or enough labels to hold some out: --data.few_labels_beside_test) or cross-fits its "
            "labels, two or more per class (model.tune head, or --budget none with noise.strength auto); a "
            "distillation only with validation labels. Leave calibrated out, or train such a run."
        )
    if not calibration.is_usable:
        raise ModelError(
            f"{name} has the temperature {calibration.temperature:g}, an end of the range, because "
            f"{calibration.labels} {calibration.fitted_on} are too few or too easy to fit it on. Leave out calibrated, "
            "or run with more --validation labels."
        )
    return calibration
