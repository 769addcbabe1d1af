"""Robustness results as dataclasses: of one model (``robustness.json``) and of several (``comparison.json``).

Accuracies, errors, calibration errors and differences are fractions from 0 to 1, epsilons are in steps of 255,
severities go from 1 to 5. A measure without results is None.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from noisystudent.artifacts.typed_json import Finite
from noisystudent.evaluation.adversarial.results import AttackResult
from noisystudent.evaluation.calibration.results import CalibrationResult
from noisystudent.evaluation.corruptions.results import CorruptionResult
from noisystudent.evaluation.natural.results import NaturalResult
from noisystudent.evaluation.perturbations.results import PerturbationResult


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanResult:
    """Accuracy on the images as they are, and the standard error of the top-1 accuracy over images.

    ``top5`` is None with at most five classes, among which the true one always is.
    """

    top1: Finite
    top1_standard_error: Finite
    top5: Finite | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustnessResult:
    """The robustness of one model: ``clean`` accuracy, in any case, and the measures of ``evaluation.suite``.

    Attributes:
        model: the name of the model.
        source: the name of the evaluated source.
        count: the evaluated images.
        clean: accuracy on these images as they are.
        classes: how the classes of the source were matched with the model's; empty if they are the same.
        unreadable: the images that were left out because they could not be read.
        corruptions: errors under corruptions (ImageNet-C).
        perturbations: stability along perturbed sequences (ImageNet-P).
        natural: scores on naturally shifted sets, by the name of the set.
        attacks: accuracy under adversarial attacks.
        calibration: how well confidence matches accuracy.
    """

    model: str
    source: str
    count: int
    clean: CleanResult
    classes: str = ""
    unreadable: int = 0
    corruptions: CorruptionResult | None = None
    perturbations: PerturbationResult | None = None
    natural: dict[str, NaturalResult] | None = None
    attacks: AttackResult | None = None
    calibration: CalibrationResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The accuracy of a model minus that of the first model, with its 95% interval over images."""

    difference: Finite
    interval: tuple[Finite, Finite]


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanDifference(Difference):
    """The difference on ``labels`` clean images, with McNemar's exact p-value."""

    p_value: Finite
    labels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionDifference(Difference):
    """The difference under corruption, as the mean over ``conditions`` (a corruption at a severity)."""

    conditions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDifferences:
    """A model compared with the first model; None if no condition was measured for all models."""

    clean: CleanDifference
    corruptions: CorruptionDifference | None = None
    by_severity: dict[int, CorruptionDifference] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonResult:
    """The robustness of several models on the same images.

    Attributes:
        first: the name of the model that the others are compared with.
        measured: the results by the name of the model.
        differences: each other model compared with the first.
        role: the role of the images in a run.
    """

    first: str
    measured: dict[str, RobustnessResult]
    differences: dict[str, ModelDifferences] = field(default_factory=dict)
    role: Literal["test", "validation"] | None = None

    def __post_init__(self) -> None:
        if self.first not in self.measured:
            raise ValueError(f"{self.first!r} is named as the first model, but is not among the measured models")
