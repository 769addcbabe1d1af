"""Made-up content of a ``comparison.json``, with numbers that are easy to find again."""

from typing import Any

SEVERITIES = (1, 3, 5)


def told_of(*names: str) -> dict[str, Any]:
    """Classifiers with everything measured: the first is right on 90% of clean images, each next on 1% more."""
    return {
        "first": names[0],
        "measured": {name: measured(place) for place, name in enumerate(names)},
        "differences": {name: differences(place) for place, name in enumerate(names) if place},
    }


def named_as_in_a_run(told: dict[str, Any]) -> dict[str, Any]:
    """The same of the control, the first round's student and the teacher of a run."""
    new = dict(zip(told["measured"], ("control", "round 1", "teacher"), strict=False))
    return {
        "first": "control",
        "measured": {new[name]: each | {"source": "digits:test"} for name, each in told["measured"].items()},
        "differences": {new[name]: each for name, each in told["differences"].items()},
        "role": "test",
    }


def measured(place: int) -> dict[str, Any]:
    """What is told of one classifier: the further its place, the better it is."""
    return {
        "subject": f"subject {place}",
        "source": "digits",
        "count": 200,
        "clean": {"top1": 0.90 + 0.01 * place, "top5": 0.99, "top1_standard_error": 0.02},
        "corruptions": corruptions(place),
        "perturbations": perturbations(place),
        "attacks": attacks(place),
        "calibration": calibration(place),
        "natural": {
            "ImageNet-A": {
                "path": "/images/a",
                "count": 7500,
                "classes": "200 of the model's 1000 classes, found by their names",
                "top1_200way": 0.1 + 0.01 * place,
            }
        },
    }


def corruptions(place: int) -> dict[str, Any]:
    """Errors of fog 10, 30, 50% and of Gaussian noise 20, 40, 60% at severities 1, 3, 5, less by a point a place."""
    errors = {
        name: {str(severity): base + 0.1 * severity - 0.01 * place for severity in SEVERITIES}
        for name, base in (("fog", 0.0), ("gaussian_noise", 0.1))
    }
    per_corruption = {name: sum(by.values()) / len(by) for name, by in errors.items()}
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
        "ece": {str(severity): 0.02 * severity for severity in SEVERITIES},
        "alexnet": {"mean_corruption_error": 76.43 - place, "relative_mean_corruption_error": 105.0 - place},
    }


def perturbations(place: int) -> dict[str, Any]:
    """Flips of 2% under tilt and 4% under motion blur, less by a tenth of a point a place."""
    flips = {"motion_blur": 0.04 - 0.001 * place, "tilt": 0.02 - 0.001 * place}
    return {
        "source": "generated",
        "table": 32,
        "difficulty": 1,
        "count": 200,
        "perturbations": {name: {"flip_probability": each, "top5_distance": 0.5} for name, each in flips.items()},
        "missing": [],
        "mean_flip_probability": sum(flips.values()) / len(flips),
        "mean_top5_distance": 0.5,
        "relative": {"baseline": "resnet50", "mean_flip_rate": 58.04 - place, "mean_top5_distance": 78.2 - place},
    }


def attacks(place: int) -> dict[str, Any]:
    """FGSM leaves 80% at 1/255 and 40% at 4/255, PGD 70% and 20%, AutoAttack 60% at 1/255 alone."""
    points = ((4.0, 0.4, 0.2, None), (1.0, 0.8, 0.7, 0.6))  # the strongest need not be the last
    return {
        "norm": "linf",
        "steps": 10,
        "restarts": 1,
        "count": 200,
        "image": [1, 8, 8],
        "clean": 0.90 + 0.01 * place,
        "curve": [
            {"epsilon": epsilon, "fgsm": fgsm + 0.01 * place, "pgd": pgd + 0.01 * place}
            | ({} if auto is None else {"autoattack": auto + 0.01 * place})
            for epsilon, fgsm, pgd, auto in points
        ],
        "warnings": [],
    }


def calibration(place: int) -> dict[str, Any]:
    """An ECE of 5% on clean images and 5% more at each severity, halved by scaling, less by a point a place."""

    def numbers(ece: float) -> dict[str, float]:
        return {"ece": ece, "adaptive_ece": ece, "rms_calibration_error": ece, "aurra": 0.9, "nll": 0.4, "brier": 0.1}

    bins = [
        {"low": 0.0, "high": 0.5, "count": 0, "confidence": None, "accuracy": None},
        {"low": 0.5, "high": 1.0, "count": 200, "confidence": 0.8, "accuracy": 0.9},
    ]
    errors = {severity: 0.05 + 0.05 * severity - 0.01 * place for severity in (0, *SEVERITIES)}
    return {
        "plain": numbers(errors[0]),
        "scaled": numbers(errors[0] / 2),
        "temperatures": [1.2, 1.3],
        "reliability": bins,
        "scaled_reliability": bins,
        "corrupted": {
            str(severity): {
                "plain": numbers(errors[severity]),
                "scaled": numbers(errors[severity] / 2),
                "reliability": bins,
            }
            for severity in SEVERITIES
        },
    }


def differences(place: int) -> dict[str, Any]:
    """Better than the first by a point a place, with two points to either side."""

    def difference(conditions: int) -> dict[str, Any]:
        value = 0.01 * place
        return {"difference": value, "interval": [value - 0.02, value + 0.02], "conditions": conditions}

    clean = {key: value for key, value in difference(0).items() if key != "conditions"} | {"p_value": 0.2}
    return {
        "clean": clean,
        "corruptions": difference(6),
        "by_severity": {str(severity): difference(2) for severity in SEVERITIES},
    }
