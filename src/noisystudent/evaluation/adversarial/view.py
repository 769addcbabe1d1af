"""Display of the accuracy under attack: columns, charts, notes and warnings of the page, lines in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from noisystudent.display import charts, wording
from noisystudent.evaluation.adversarial.results import AttackPoint, AttackResult
from noisystudent.evaluation.results import ComparisonResult, RobustnessResult
from noisystudent.evaluation.view import (
    Column,
    MeasureView,
    Points,
    charted_models,
    column,
    heights,
    series_of,
)

_TITLES = {"fgsm": "FGSM", "pgd": "PGD", "autoattack": "AutoAttack"}


def _lines(result: RobustnessResult) -> Iterator[str]:
    attacks = result.attacks
    if attacks is None:
        return
    yield ""
    yield f"accuracy under attack ({attacks.norm}, PGD of {attacks.steps} steps), clean {attacks.clean:.4f}:"
    for point in attacks.curve:
        strongest = "" if point.autoattack is None else f"  AutoAttack {point.autoattack:.4f}"
        yield f"  epsilon {point.epsilon:>5g}/255  FGSM {point.fgsm:.4f}  PGD {point.pgd:.4f}{strongest}"
    for warning in attacks.warnings:
        yield f"  note: {warning}"


def _results(comparison: ComparisonResult) -> list[AttackResult]:
    return [result.attacks for result in comparison.measured.values() if result.attacks]


def _summary(comparison: ComparisonResult) -> str:
    return "accuracy under attack" if _results(comparison) else ""


def _columns(comparison: ComparisonResult) -> Iterator[Column]:
    points = [point for result in _results(comparison) for point in result.curve]
    for attack, title in _TITLES.items():
        epsilons = [point.epsilon for point in points if _accuracy(point, attack) is not None]
        if epsilons:
            strongest = max(epsilons)
            accuracies = [_accuracy_at(result, attack, strongest) for result in comparison.measured.values()]
            yield from column(f"{title} {strongest:g}/255", accuracies, wording.percent)


def _accuracy(point: AttackPoint, attack: str) -> float | None:
    accuracy: float | None = getattr(point, attack)
    return accuracy


def _accuracy_at(result: RobustnessResult, attack: str, epsilon: float) -> float | None:
    curve: Sequence[AttackPoint] = result.attacks.curve if result.attacks else ()
    return next((_accuracy(point, attack) for point in curve if point.epsilon == epsilon), None)


def _charts(comparison: ComparisonResult) -> Iterator[Markup]:
    """A curve per attack, all on one scale, from the clean accuracy at epsilon 0 (Xie et al. 2020, figure 3)."""
    models = charted_models(comparison)
    curves = {
        title: series_of(models, {name: _curve(result, attack) for name, result in models.items()})
        for attack, title in _TITLES.items()
    }
    for title, series in curves.items():
        if series:
            yield charts.curve_chart(
                series,
                title=f"Accuracy under {title}",
                x_label="epsilon (steps of 255)",
                y_label="top-1 accuracy (%)",
                covered=heights(curves),
            )


def _curve(result: RobustnessResult, attack: str) -> Points:
    """Accuracy by epsilon, with the clean accuracy at 0; empty without this attack."""
    if result.attacks is None:
        return {}
    accuracies = {point.epsilon: _accuracy_at(result, attack, point.epsilon) for point in result.attacks.curve}
    points = {epsilon: accuracy for epsilon, accuracy in accuracies.items() if accuracy is not None}
    return ({0.0: result.attacks.clean} if points else {}) | points


def _explanations(comparison: ComparisonResult) -> Iterator[str]:
    results = _results(comparison)
    yield from dict.fromkeys(map(_described, results))
    if results:
        yield "Images that are wrong without an attack count as wrong under it. Better attacks may leave fewer right."


def _described(attacks: AttackResult) -> str:
    far = "every pixel by at most epsilon" if attacks.norm == "linf" else "an image as far as epsilon in every pixel"
    return (
        f"Attacks move {far} ({attacks.norm}), in steps of 255, on {wording.plural(attacks.count, 'image')} of "
        f"{' x '.join(map(str, attacks.image))} values; PGD takes {wording.plural(attacks.steps, 'step')} from "
        f"{wording.plural(attacks.restarts, 'start')}."
    )


def _warnings(result: RobustnessResult) -> Sequence[str]:
    return result.attacks.warnings if result.attacks else ()


VIEW = MeasureView(
    title="Attacks",
    lines=_lines,
    summary=_summary,
    columns=_columns,
    charts=_charts,
    explanations=_explanations,
    warnings=_warnings,
)
