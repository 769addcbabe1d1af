"""Errors on corrupted images and their means over a set of corruptions: the measures of ImageNet-C.

Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
section 4. Top-1 errors and their means are fractions in [0, 1]. Errors relative to AlexNet are in percent, as
published: AlexNet has 100, and lower is better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from noisystudent.errors import DataError, nearest_name
from noisystudent.evaluation.corruptions.tables import EXTRA_CORRUPTIONS, SEVERITIES, TEST_CORRUPTIONS

Errors = Mapping[str, Mapping[int, float]]  # top-1 error by corruption and severity

# AlexNet's top-1 error on ImageNet-C, mean over the severities: the README of hendrycks/robustness at commit 76d9393.
# They are errors on 1,000 classes at 224 pixels, so they do not apply to other data.
ALEXNET_ERRORS: Mapping[str, float] = MappingProxyType(
    {
        "gaussian_noise": 0.886428,
        "shot_noise": 0.894468,
        "impulse_noise": 0.922640,
        "defocus_blur": 0.819880,
        "glass_blur": 0.826268,
        "motion_blur": 0.785948,
        "zoom_blur": 0.798360,
        "snow": 0.866816,
        "frost": 0.826572,
        "fog": 0.819324,
        "brightness": 0.564592,
        "contrast": 0.853204,
        "elastic_transform": 0.646056,
        "pixelate": 0.717840,
        "jpeg_compression": 0.606500,
    }
)
# On clean images: in torchvision's metadata AlexNet_Weights.IMAGENET1K_V1 has acc@1 56.522.
ALEXNET_CLEAN_ERROR = 0.43478


@dataclass(frozen=True)
class CorruptionErrors:
    """Mean top-1 errors per corruption and over a set of corruptions, as fractions in [0, 1].

    Attributes:
        per_corruption: the mean over the five severities, for every complete corruption, extra ones included.
        mean: the mean over the corruptions of the set; None if any is incomplete.
        mean_of_present: the mean over the complete corruptions of the set; None if there are none.
        present: number of complete corruptions of the set.
        missing: the incomplete ones, such as ``"fog"`` or ``"snow at severity 3, 5"``.
    """

    per_corruption: dict[str, float]
    mean: float | None
    mean_of_present: float | None
    present: int
    missing: tuple[str, ...]


@dataclass(frozen=True)
class AlexNetErrors:
    """Corruption errors in percent of AlexNet's.

    Attributes:
        corruption_errors: the corruption error (CE) of each of ImageNet-C's 15 corruptions.
        mean_corruption_error: the mean of the 15 (mCE).
        relative_corruption_errors: the relative CE of each corruption.
        relative_mean_corruption_error: the mean of the 15 (relative mCE).
    """

    corruption_errors: dict[str, float]
    mean_corruption_error: float
    relative_corruption_errors: dict[str, float]
    relative_mean_corruption_error: float


def corruption_errors(errors: Errors, corruptions: Sequence[str] = TEST_CORRUPTIONS) -> CorruptionErrors:
    """Averages top-1 errors over severities, then over a set of corruptions.

    CIFAR-10-C, CIFAR-100-C and ImageNet-C-bar are reported in this way, without dividing by another network's error.

    Args:
        errors: top-1 errors as fractions, by corruption and severity (1 to 5). The four extra corruptions may be
            included; no mean includes them.
        corruptions: the set of corruptions to average over; by default ImageNet-C's 15.

    Returns:
        The mean errors, and what is missing.

    Raises:
        DataError: a corruption is unknown, a severity is not 1 to 5, or an error is outside [0, 1].
    """
    _check(errors, corruptions)
    complete = {
        name: _mean(by_severity) for name, by_severity in errors.items() if not _missing_severities(by_severity)
    }
    present = [complete[name] for name in corruptions if name in complete]
    mean_of_present = sum(present) / len(present) if present else None
    return CorruptionErrors(
        per_corruption=complete,
        mean=mean_of_present if len(present) == len(corruptions) else None,
        mean_of_present=mean_of_present,
        present=len(present),
        missing=_missing(errors, corruptions),
    )


def alexnet_errors(errors: Errors, clean_error: float) -> AlexNetErrors:
    """ImageNet-C's mean corruption error (mCE) and relative mCE (section 4.1 of the paper).

    CE_c is the model's error under corruption c, summed over severities, divided by AlexNet's. The relative CE_c first
    subtracts each network's error on clean images. Both means are over the 15 corruptions. They apply to ImageNet-C at
    224 pixels only: AlexNet's errors are not known for other data.

    Args:
        errors: top-1 errors as fractions, by corruption and severity (1 to 5).
        clean_error: the model's top-1 error on clean images, as a fraction.

    Returns:
        The errors in percent of AlexNet's.

    Raises:
        DataError: any of the 75 errors is missing, ``clean_error`` is outside [0, 1], or ``corruption_errors`` refuses
            the errors.
    """
    _check(errors, TEST_CORRUPTIONS)
    missing = _missing(errors, TEST_CORRUPTIONS)
    if missing:
        raise DataError(
            f"A mean corruption error needs {len(TEST_CORRUPTIONS)} corruptions at severities 1 to 5; missing: "
            f"{'; '.join(missing)}. Measure these too, or report a mean over fewer corruptions under another name."
        )
    if not 0 <= clean_error <= 1:
        raise DataError(
            f"The clean error is {clean_error}; errors are fractions from 0 to 1. Divide percentages by 100."
        )
    means = {name: _mean(errors[name]) for name in TEST_CORRUPTIONS}
    plain = error_rates(means, ALEXNET_ERRORS)
    relative = error_rates(
        {name: mean - clean_error for name, mean in means.items()},
        {name: mean - ALEXNET_CLEAN_ERROR for name, mean in ALEXNET_ERRORS.items()},
    )
    return AlexNetErrors(plain, sum(plain.values()) / len(plain), relative, sum(relative.values()) / len(relative))


def error_rates(means: Mapping[str, float], baseline: Mapping[str, float]) -> dict[str, float]:
    """Mean errors of corruptions in percent of a baseline's (baseline = 100).

    Args:
        means: the mean error of each corruption over the severities.
        baseline: the baseline's mean error of each corruption.

    Returns:
        The percentage of each corruption in ``means``.

    Raises:
        DataError: the baseline has no error of a corruption, or one that is not above 0.
    """
    for name in means:
        if baseline.get(name, 0.0) <= 0:
            raise DataError(
                f"The baseline's mean error under {name} is {baseline.get(name, 'missing')}; it must be above 0, "
                "because results are divided by it. Evaluate the baseline at all five severities, or use another "
                "baseline."
            )
    return {name: 100 * mean / baseline[name] for name, mean in means.items()}


def _mean(by_severity: Mapping[int, float]) -> float:
    return math.fsum(by_severity.values()) / len(SEVERITIES)


def _missing_severities(by_severity: Mapping[int, float]) -> list[int]:
    return [severity for severity in SEVERITIES if severity not in by_severity]


def _missing(errors: Errors, corruptions: Sequence[str]) -> tuple[str, ...]:
    """The corruptions without all severities; names the severities of those that have some."""
    incomplete = []
    for name in corruptions:
        severities = _missing_severities(errors.get(name, {}))
        if severities:
            all_missing = len(severities) == len(SEVERITIES)
            incomplete.append(name if all_missing else f"{name} at severity {', '.join(map(str, severities))}")
    return tuple(incomplete)


def _check(errors: Errors, corruptions: Sequence[str]) -> None:
    known = (*corruptions, *EXTRA_CORRUPTIONS)
    for name, by_severity in errors.items():
        if name not in known:
            raise DataError(
                f"The corruption {name!r} is not in the set.{nearest_name(name, known)} The set has "
                f"{', '.join(corruptions)}; {', '.join(EXTRA_CORRUPTIONS)} are also allowed."
            )
        for severity, error in by_severity.items():
            if severity not in SEVERITIES:
                raise DataError(f"{name} has severity {severity!r}; severities are the numbers 1 to 5.")
            if not 0 <= error <= 1:
                raise DataError(
                    f"{name} at severity {severity} has error {error}; errors are fractions from 0 to 1. Divide "
                    "percentages by 100."
                )
