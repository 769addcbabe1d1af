"""The calibration of a model on clean and corrupted images, as dataclasses (``robustness.json``, ``calibration``)."""

from __future__ import annotations

from dataclasses import dataclass, field

from noisystudent.artifacts.typed_json import Finite
from noisystudent.evaluation.metrics.results import CalibrationBin


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationScores:
    """How well confidence matches accuracy; all as fractions from 0 to 1, except ``nll`` (nats) and ``brier`` (0 to 2).

    Attributes:
        ece: the expected calibration error over bins of equal width.
        adaptive_ece: the expected calibration error over bins of equal mass.
        rms_calibration_error: the root mean square calibration error over bins of equal mass.
        aurra: the area under the response rate accuracy curve.
        nll: the negative log-likelihood.
        brier: the Brier score.
    """

    ece: Finite
    adaptive_ece: Finite
    rms_calibration_error: Finite
    aurra: Finite
    nll: Finite
    brier: Finite


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionCalibration:
    """Calibration under one condition: as the model predicts (``plain``) and after temperature scaling (``scaled``)."""

    plain: CalibrationScores
    scaled: CalibrationScores
    reliability: tuple[CalibrationBin, ...] = ()
    scaled_reliability: tuple[CalibrationBin, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BinSizes:
    """The bins that the calibration errors are computed over: number of equal width, rows of equal mass."""

    equal_width: int
    rows_of_equal_mass: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationResult(ConditionCalibration):
    """Calibration on clean images and, if corruptions are in the suite, on all corrupted images of each severity.

    ``temperatures`` are those of the two halves of the images, each fitted on the clean images of the other half.
    """

    temperatures: tuple[Finite, Finite]
    bins: BinSizes
    corrupted: dict[int, ConditionCalibration] = field(default_factory=dict)
