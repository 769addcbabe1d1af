"""What is told of the robustness of several classifiers, as frozen dataclasses that are checked when they are read.

The same content stands in ``comparison.json`` and, under ``robustness``, in a run's ``summary.json``. Shares
(accuracies, errors, calibration errors, differences) are fractions from 0 to 1, epsilons steps of 255, severities 1 to
5. A measure that was not taken is ``None`` or empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from noisystudent.display.reliability import CalibrationBin

Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanScores:
    """Accuracy on the images as they are."""

    top1: Finite
    top5: Finite | None = None
    top1_standard_error: Finite | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlexNetScores:
    """Corruption errors in percent of AlexNet's, as ImageNet-C is reported."""

    mean_corruption_error: Finite
    relative_mean_corruption_error: Finite | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionScores:
    """Errors by corruption and severity; ``mean_of_present`` is over ``present`` of the set, ``missing`` the others.

    ``missing_classes``: classes that a published set has no images of, in all conditions or by condition.
    """

    source: Literal["generated", "published"]
    errors: dict[str, dict[int, Finite]]
    table: int | str | None = None
    count: int | None = None
    mean: Finite | None = None
    mean_of_present: Finite | None = None
    present: int | None = None
    missing: tuple[str, ...] = ()
    missing_classes: tuple[str, ...] | dict[str, tuple[str, ...]] = ()
    alexnet: AlexNetScores | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """How often the prediction changes along sequences of one perturbation."""

    flip_probability: Finite
    top5_distance: Finite | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeStability:
    """Instability in percent of that of ``baseline``, as ImageNet-P is reported."""

    baseline: str
    mean_flip_rate: Finite | None = None
    mean_top5_distance: Finite | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbationScores:
    """Stability along perturbed sequences; the means are None where a perturbation is ``missing``."""

    source: Literal["generated", "published"]
    perturbations: dict[str, Stability]
    table: int | str | None = None
    difficulty: int | None = None
    count: int | None = None
    mean_flip_probability: Finite | None = None
    mean_top5_distance: Finite | None = None
    missing: tuple[str, ...] = ()
    relative: RelativeStability | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackPoint:
    """Accuracy under each attack at one epsilon."""

    epsilon: Finite
    fgsm: Finite | None = None
    pgd: Finite | None = None
    autoattack: Finite | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackScores:
    """Accuracy against epsilon, ``clean`` at 0; ``image`` is channels, height and width of what was attacked."""

    norm: Literal["linf", "l2"]
    curve: tuple[AttackPoint, ...]
    steps: int | None = None
    restarts: int | None = None
    count: int | None = None
    image: tuple[int, ...] = ()
    clean: Finite | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationNumbers:
    """How far confidence and accuracy are apart."""

    ece: Finite
    adaptive_ece: Finite | None = None
    rms_calibration_error: Finite | None = None
    aurra: Finite | None = None
    nll: Finite | None = None
    brier: Finite | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptedCalibration:
    """Calibration over all corruptions of one severity, ``scaled`` at the temperatures of the clean images."""

    plain: CalibrationNumbers
    scaled: CalibrationNumbers | None = None
    reliability: tuple[CalibrationBin, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationScores:
    """Calibration before and after temperature scaling, each half at the temperature fitted on the other half."""

    plain: CalibrationNumbers
    scaled: CalibrationNumbers | None = None
    temperatures: tuple[Finite, ...] = ()
    reliability: tuple[CalibrationBin, ...] = ()
    corrupted: dict[int, CorruptedCalibration] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All that was measured of one classifier; ``natural``: scores by the name of a naturally shifted set.

    ``classes`` says which of the classifier's classes the images have, where it is not simply all.
    """

    source: str
    count: int
    clean: CleanScores
    classes: str = ""
    subject: str = ""
    corruptions: CorruptionScores | None = None
    perturbations: PerturbationScores | None = None
    attacks: AttackScores | None = None
    calibration: CalibrationScores | None = None
    natural: dict[str, dict[str, object]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An accuracy minus that of the first classifier, with its 95% interval over images."""

    difference: Finite
    interval: tuple[Finite, Finite]
    p_value: Finite | None = None
    conditions: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """One classifier beside the first, on clean images and on corrupted ones."""

    clean: Difference
    corruptions: Difference | None = None
    by_severity: dict[int, Difference | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Robustness:
    """Classifiers by name, all on the same images; ``role`` is that of the images in a run."""

    first: str
    measured: dict[str, Measured]
    differences: dict[str, Differences] = field(default_factory=dict)
    role: Literal["test", "validation"] | None = None

    def __post_init__(self) -> None:
        if self.first not in self.measured:
            raise ValueError(f"{self.first!r} is named as the first, and is none of those that were measured")
