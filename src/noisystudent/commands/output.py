"""What ``evaluate`` prints: the scores of clean images, and what a suite measured, with what must be known of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from noisystudent.display.wording import plural, printable


def print_scores(scores: dict[str, Any]) -> None:
    """Prints the scores of one checkpoint on one source, with those after temperature scaling where there are some."""
    scaled: dict[str, Any] = scores.get("temperature_scaling", {})
    for name in ("top1", "top5", "ece", "nll", "brier"):
        after = f" -> {scaled[name]:.4f} at temperature {scaled['temperature']:.2f}" if name in scaled else ""
        print(f"{name:<6} {scores[name]:.4f}{after}")
    print(f"count  {scores['count']}")
    for key, reason in scores.get("unreadable", {}).items():
        print(f"  note: left out, since it could not be read: {printable(key)} ({printable(reason)})")
    if "classes" in scores:
        print(f"  note: the images are of {scores['classes']}; answers are among all of them")
    if scaled:
        _print_temperature(scaled)


def _print_temperature(scaled: dict[str, Any]) -> None:
    print(f"temperature fitted on {scaled['count']} images of {scaled['source']}")
    if scaled["left_out"]:
        print(f"  note: {scaled['left_out']} more were left out, since the same images are scored")
    if scaled["at_end"]:
        print("  note: the temperature is at the end of its range: fit it on more images, or harder ones, to use it")


def print_robustness(told: dict[str, Any]) -> None:
    """Prints what ``robustness.json`` holds of the measures that were taken."""
    if unreadable := told.get("unreadable"):
        print(f"  note: {plural(unreadable, 'image')} could not be read and left out of what follows")
    corruptions, stability, attacks = (told.get(name) for name in ("corruptions", "perturbations", "attacks"))
    if "calibration" in told:
        _print_calibration(told["calibration"])
    if corruptions:
        _print_corruptions(corruptions)
    if stability:
        _print_perturbations(stability)
    if "natural" in told:
        _print_natural(told["natural"])
    if attacks:
        how = f"{attacks['norm']}, PGD of {attacks['steps']} steps"
        print(f"\naccuracy under attack ({how}), clean {attacks['clean']:.4f}:")
        for row in attacks["curve"]:
            strongest = f"  AutoAttack {row['autoattack']:.4f}" if "autoattack" in row else ""
            print(f"  epsilon {row['epsilon']:>5g}/255  FGSM {row['fgsm']:.4f}  PGD {row['pgd']:.4f}{strongest}")
        for warning in attacks["warnings"]:
            print(f"  note: {warning}")


def _print_corruptions(found: dict[str, Any]) -> None:
    print(f"\nerror under corruptions ({_origin(found)}), by severity:")
    severities = sorted({severity for by_severity in found["errors"].values() for severity in by_severity})
    for name, by_severity in found["errors"].items():
        cells = (f"{by_severity[each]:.4f}" if each in by_severity else "-" for each in severities)
        print(f"  {name:<18}" + "".join(f" {cell:>6}" for cell in cells))
    lacking = f"there is no {'; no '.join(found['missing'])}" if found["missing"] else "some classes have no images"
    print(f"  mean {f'none of all 15: {lacking}' if found['mean'] is None else format(found['mean'], '.4f')}")
    if classes := found.get("missing_classes"):
        first = classes if isinstance(classes, list) else next(iter(classes.values()))
        where = "every condition" if classes is first else _conditions(classes)
        print(f"  note: no images of {plural(len(first), 'class', 'classes')} of the model's ({first[0]!r}) in {where}")
    if unreadable := found.get("unreadable"):
        print(
            f"  note: images that could not be read are left out: {sum(unreadable.values())} in "
            f"{_conditions(unreadable)}"
        )
    _print_ignored(found)
    if alexnet := found.get("alexnet"):
        print(f"  mean corruption error (AlexNet has 100) {alexnet['mean_corruption_error']:.2f}")
        print(
            f"  relative mean corruption error {alexnet['relative_mean_corruption_error']:.2f}, "
            f"clean error {alexnet['clean_error']:.4f} on {alexnet['clean_source']}"
        )
    if relative := found.get("relative_to_baseline"):
        print(f"  mean corruption error ({relative['baseline']} has 100) {_rate(relative['mean_corruption_error'])}")


def _print_perturbations(found: dict[str, Any]) -> None:
    print(f"\nalong perturbed sequences ({_origin(found)}):")
    for name, each in found["perturbations"].items():
        print(f"  {name:<18} flips {each['flip_probability']:.4f}  top-5 distance {each['top5_distance']:.3f}")
    if found["missing"]:
        print(f"  mean none of all ten: there is no {'; no '.join(found['missing'])}")
    else:
        means = found["mean_flip_probability"], found["mean_top5_distance"]
        print(f"  {'mean':<18} flips {means[0]:.4f}  top-5 distance {means[1]:.3f}")
    _print_ignored(found)
    if relative := found.get("relative"):
        print(
            f"  {relative['baseline']} has 100: mean flip rate {_rate(relative['mean_flip_rate'])}, mean top-5 "
            f"distance {_rate(relative['mean_top5_distance'])}"
        )


def _origin(found: dict[str, Any]) -> str:
    if found["source"] == "published":
        return f"published, {found['folder']}"
    return f"generated, strengths for {found['table']} px"


def _conditions(names: Collection[str]) -> str:
    return f"{plural(len(names), 'condition')}, such as {next(iter(names))}"


def _rate(value: float | None) -> str:
    return "none: not all of the set are there" if value is None else f"{value:.2f}"


def _print_ignored(found: dict[str, Any]) -> None:
    if ignored := found.get("ignored"):
        more = f" and {len(ignored) - 5} more" if len(ignored) > 5 else ""
        print(f"  note: passed over in the folder: {', '.join(ignored[:5])}{more}")


def _print_calibration(found: dict[str, Any]) -> None:
    even, odd = found["temperatures"]
    print(f"\ncalibration as it is -> each half at the other's temperature, {even:.2f} and {odd:.2f}:")
    by_severity = {f"severity {severity}": each for severity, each in found["corrupted"].items()}
    for name, each in {"clean": found, **by_severity}.items():
        scores = (f"{score} {each['plain'][score]:.4f} -> {each['scaled'][score]:.4f}" for score in ("ece", "nll"))
        print(f"  {name:<18} {'  '.join(scores)}")


def _print_natural(sets: dict[str, Any]) -> None:
    print("\nnaturally shifted sets:")
    for name, found in sets.items():
        print(f"  {name}: {found['count']} images, {printable(found['classes'])}")
        for score, value in found.items():
            if isinstance(value, float) and not score.endswith("_standard_error"):
                error = found.get(f"{score}_standard_error")
                print(f"    {score:<30} {value:7.4f}" + ("" if error is None else f" +- {error:.4f}"))
        for note in found["notes"]:
            print(f"    note: {printable(note)}")
