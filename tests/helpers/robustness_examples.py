"""Made-up content of a ``comparison.json``, with numbers that are easy to find again."""

from typing import Any

from noisystudent.artifacts.typed_json import from_json
from noisystudent.evaluation.results import ComparisonResult

SEVERITIES = (1, 3, 5)


def comparison_of(*names: str) -> dict[str, Any]:
    """Models with all measures: the first is right on 90% of clean images, each next one on 1% more."""
    return {
        "first": names[0],
        "measured": {name: robustness(rank) for rank, name in enumerate(names)},
        "differences": {name: differences(rank) for rank, name in enumerate(names) if rank},
    }


def parsed(comparison: dict[str, Any]) -> ComparisonResult:
    """The typed form of a ``comparison.json``."""
    return from_json(ComparisonResult, comparison, "The comparison")


def named_as_in_a_run(comparison: dict[str, Any]) -> dict[str, Any]:
    """The same for the control, the first round's student and the teacher of a run."""
    new = dict(zip(comparison["measured"], ("control", "round 1", "teacher"), strict=False))
    return {
        "first": "control",
        "measured": {new[name]: result | {"source": "digits:test"} for name, result in comparison["measured"].items()},
        "differences": {new[name]: difference for name, difference in comparison["differences"].items()},
        "role": "test",
    }


def robustness(rank: int) -> dict[str, Any]:
    """The results of one model: the higher its rank, the better it is."""
    return {
        "model": f"model {rank}",
        "source": "digits",
        "count": 200,
        "clean": {"top1": 0.90 + 0.01 * rank, "top5": 0.99, "top1_standard_error": 0.02},
        "corruptions": corruptions(rank),
        "perturbations": perturbations(rank),
        "attacks": attacks(rank),
        "calibration": calibration(rank),
        "natural": {
            "ImageNet-A": {
                "source": "/images/a",
                "classes": "200 of the model's 1000 classes, found by their names",
                "count": 7500,
                "scores": {"top1_200way": 0.1 + 0.01 * rank},
            }
        },
    }


def corruptions(rank: int) -> dict[str, Any]:
    """Errors of fog 10, 30, 50% and of Gaussian noise 20, 40, 60% at severities 1, 3, 5, less by a point per rank."""
    errors = {
        name: {str(severity): base + 0.1 * severity - 0.01 * rank for severity in SEVERITIES}
        for name, base in (("fog", 0.0), ("gaussian_noise", 0.1))
    }
    per_corruption = {name: sum(by_severity.values()) / len(by_severity) for name, by_severity in errors.items()}
    return {
        "source": "generated",
        "table": 32,
        "count": 200,
        "errors": errors,
        "per_corruption": per_corruption,
        "mean": None,
        "mean_of_present": sum(per_corruption.values()) / len(per_corruption),
        "present": 2,
        "missing": ["frost", "snow at severity 3"],
        "alexnet": {
            "corruption_errors": {},
            "mean_corruption_error": 76.43 - rank,
            "relative_corruption_errors": {},
            "relative_mean_corruption_error": 105.0 - rank,
            "clean_error": 0.1,
            "clean_source": "digits",
        },
    }


def perturbations(rank: int) -> dict[str, Any]:
    """Flips of 2% under tilt and 4% under motion blur, less by a tenth of a point per rank."""
    flips = {"motion_blur": 0.04 - 0.001 * rank, "tilt": 0.02 - 0.001 * rank}
    return {
        "source": "generated",
        "table": 32,
        "difficulty": 1,
        "count": 200,
        "perturbations": {
            name: {"flip_probability": flip, "top5_distance": 0.5, "zipf_distance": None, "sequences": 200}
            for name, flip in flips.items()
        },
        "missing": [],
        "mean_flip_probability": sum(flips.values()) / len(flips),
        "mean_top5_distance": 0.5,
        "relative": {
            "baseline": "resnet50",
            "mean_flip_rate": 58.04 - rank,
            "mean_top5_distance": 78.2 - rank,
            "perturbations": {},
        },
    }


def attacks(rank: int) -> dict[str, Any]:
    """FGSM leaves 80% at 1/255 and 40% at 4/255, PGD 70% and 20%, AutoAttack 60% at 1/255 alone."""
    points = ((4.0, 0.4, 0.2, None), (1.0, 0.8, 0.7, 0.6))  # the strongest need not be the last
    errors = {f"{attack}_standard_error": 0.03 for attack in ("fgsm", "pgd")}
    return {
        "norm": "linf",
        "steps": 10,
        "step_size": 0.25,
        "restarts": 1,
        "count": 200,
        "image": [1, 8, 8],
        "clean": 0.90 + 0.01 * rank,
        "curve": [
            {"epsilon": epsilon, "fgsm": fgsm + 0.01 * rank, "pgd": pgd + 0.01 * rank, **errors}
            | ({} if auto is None else {"autoattack": auto + 0.01 * rank, "autoattack_standard_error": 0.03})
            for epsilon, fgsm, pgd, auto in points
        ],
        "warnings": [],
    }


def calibration(rank: int) -> dict[str, Any]:
    """An ECE of 5% on clean images and 5% more per severity, halved by scaling, less by a point per rank."""
    ece = {severity: 0.05 + 0.05 * severity - 0.01 * rank for severity in (0, *SEVERITIES)}
    return {
        **condition(ece[0]),
        "bins": {"equal_width": 15, "rows_of_equal_mass": 100},
        "temperatures": [1.2, 1.3],
        "corrupted": {str(severity): condition(ece[severity]) for severity in SEVERITIES},
    }


def condition(ece: float) -> dict[str, Any]:
    """Calibration under one condition, with an empty bin."""

    def scores(error: float) -> dict[str, float]:
        others = {"aurra": 0.9, "nll": 0.4, "brier": 0.1}
        return {"ece": error, "adaptive_ece": error, "rms_calibration_error": error, **others}

    bins = [
        {"low": 0.0, "high": 0.5, "count": 0, "confidence": 0.0, "accuracy": 0.0},
        {"low": 0.5, "high": 1.0, "count": 200, "confidence": 0.8, "accuracy": 0.9},
    ]
    return {"plain": scores(ece), "scaled": scores(ece / 2), "reliability": bins, "scaled_reliability": bins}


def differences(rank: int) -> dict[str, Any]:
    """Better than the first by a point per rank, with two points to either side."""
    value = 0.01 * rank
    difference = {"difference": value, "interval": [value - 0.02, value + 0.02]}
    return {
        "clean": {**difference, "p_value": 0.2, "labels": 200},
        "corruptions": {**difference, "conditions": 6},
        "by_severity": {str(severity): {**difference, "conditions": 2} for severity in SEVERITIES},
    }
