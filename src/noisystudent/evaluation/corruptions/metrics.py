"""Errors on corrupted images, and their mean over a whole set of corruptions: ImageNet-C's measures, in NumPy.

Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
section 4. Top-1 errors and their means are fractions in [0, 1]; what is divided by AlexNet's is in percent, as it is
published, so that AlexNet has 100 and less is better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from noisystudent.errors import DataError, nearest_name
from noisystudent.evaluation.corruptions.tables import EXTRA_CORRUPTIONS, SEVERITIES, TEST_CORRUPTIONS

Errors = Mapping[str, Mapping[int, float]]  # top-1 error of each corruption at each severity

# AlexNet's top-1 error on ImageNet-C, mean over the severities: the README of hendrycks/robustness at commit 76d9393.
# They are errors on 1,000 classes at 224 pixels, and say nothing about other data.
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
# On clean images: torchvision's metadata of AlexNet_Weights.IMAGENET1K_V1 has acc@1 56.522.
ALEXNET_CLEAN_ERROR = 0.43478


@dataclass(frozen=True)
class CorruptionErrors:
    """The error of each corruption, and of the whole set.

    ``per_corruption``: mean over the five severities, of every corruption that has them all, extra ones too.
    ``mean``: over the corruptions of the set, or None unless all are there. ``mean_of_present``: over those that are,
    ``present`` in number. ``missing`` names the others, such as ``"fog"`` or ``"snow at severity 3, 5"``.
    """

    per_corruption: dict[str, float]
    mean: float | None
    mean_of_present: float | None
    present: int
    missing: tuple[str, ...]


@dataclass(frozen=True)
class AlexNetErrors:
    """Corruption errors in percent of AlexNet's: each corruption's, and their means over ImageNet-C's 15."""

    corruption_errors: dict[str, float]
    mean_corruption_error: float
    relative_corruption_errors: dict[str, float]
    relative_mean_corruption_error: float


def corruption_errors(errors: Errors, corruptions: Sequence[str] = TEST_CORRUPTIONS) -> CorruptionErrors:
    """Top-1 errors by corruption and severity (1 to 5), averaged over severities, then over a set of ``corruptions``.

    This is how CIFAR-10-C, CIFAR-100-C and ImageNet-C-bar are reported: no other network's error divides. The set is
    ImageNet-C's 15 unless another is given; its four extra corruptions may be there and enter no mean. Raises
    ``DataError`` for a corruption that is in neither, for another severity, and for an error outside [0, 1].
    """
    _check(errors, corruptions)
    complete = {name: _mean(by_severity) for name, by_severity in errors.items() if not _lacking(by_severity)}
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
    """ImageNet-C's mean corruption error (mCE) and the relative one, from top-1 errors by corruption and severity.

    CE_c is the sum over severities of the model's error divided by the sum of AlexNet's; the relative CE_c the same
    with ``clean_error``, the model's error on clean images, and AlexNet's taken off first (section 4.1 of the paper).
    Both means are over the 15 corruptions. Only for ImageNet-C at 224 pixels: elsewhere AlexNet's errors mean nothing.

    Raises ``DataError`` when one of the 75 errors is missing, and where ``corruption_errors`` does.
    """
    _check(errors, TEST_CORRUPTIONS)
    missing = _missing(errors, TEST_CORRUPTIONS)
    if missing:
        raise DataError(
            f"A mean corruption error is over {len(TEST_CORRUPTIONS)} corruptions at severities 1 to 5, and there is "
            f"no {'; no '.join(missing)}. Measure them too, or report a mean over fewer under a name of its own."
        )
    if not 0 <= clean_error <= 1:
        raise DataError(
            f"The clean error is {clean_error}, and errors are fractions from 0 to 1. Divide percents by 100."
        )
    means = {name: _mean(errors[name]) for name in TEST_CORRUPTIONS}
    plain = error_rates(means, ALEXNET_ERRORS)
    relative = error_rates(
        {name: mean - clean_error for name, mean in means.items()},
        {name: mean - ALEXNET_CLEAN_ERROR for name, mean in ALEXNET_ERRORS.items()},
    )
    return AlexNetErrors(plain, sum(plain.values()) / len(plain), relative, sum(relative.values()) / len(relative))


def error_rates(means: Mapping[str, float], baseline: Mapping[str, float]) -> dict[str, float]:
    """Mean errors of corruptions in percent of a baseline's, which has 100: the ratio of sums over the severities.

    Raises ``DataError`` naming a corruption that the baseline lacks, or where it has no error to divide by.
    """
    for name in means:
        if baseline.get(name, 0.0) <= 0:
            raise DataError(
                f"The baseline's mean error under {name} is {baseline.get(name, 'missing')}, and it divides: it must "
                "be above 0. Measure the baseline under all of the five severities, or take another."
            )
    return {name: 100 * mean / baseline[name] for name, mean in means.items()}


def described_errors(errors: Errors) -> dict[str, Any]:
    """The errors, and the fields of their ``CorruptionErrors``, as JSON."""
    summary = asdict(corruption_errors(errors))
    summary["missing"] = list(summary["missing"])
    return {
        "errors": {name: {str(each): error for each, error in by.items()} for name, by in errors.items()},
        **summary,
    }


def _mean(by_severity: Mapping[int, float]) -> float:
    return math.fsum(by_severity.values()) / len(SEVERITIES)


def _lacking(by_severity: Mapping[int, float]) -> list[int]:
    return [severity for severity in SEVERITIES if severity not in by_severity]


def _missing(errors: Errors, corruptions: Sequence[str]) -> tuple[str, ...]:
    """What is lacking to the whole set: corruptions, and severities of others."""
    found = []
    for name in corruptions:
        lacking = _lacking(errors.get(name, {}))
        if lacking:
            whole = len(lacking) == len(SEVERITIES)
            found.append(name if whole else f"{name} at severity {', '.join(map(str, lacking))}")
    return tuple(found)


def _check(errors: Errors, corruptions: Sequence[str]) -> None:
    known = (*corruptions, *EXTRA_CORRUPTIONS)
    for name, by_severity in errors.items():
        if name not in known:
            raise DataError(
                f"Corruption {name!r} is not one of the set.{nearest_name(name, known)} The set: "
                f"{', '.join(corruptions)}; beside it {', '.join(EXTRA_CORRUPTIONS)} may be there."
            )
        for severity, error in by_severity.items():
            if severity not in SEVERITIES:
                raise DataError(f"{name} has severity {severity!r}, and severities are the numbers 1 to 5.")
            if not 0 <= error <= 1:
                raise DataError(
                    f"{name} at severity {severity} has error {error}, and errors are fractions from 0 to 1. "
                    "Divide percents by 100."
                )
