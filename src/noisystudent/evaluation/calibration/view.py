"""Display of calibration: columns, charts and notes of the page, lines in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from noisystudent.display import charts, wording
from noisystudent.evaluation.calibration.reliability import reliability_chart
from noisystudent.evaluation.calibration.results import CalibrationResult
from noisystudent.evaluation.corruptions.view import origin_of_corruptions
from noisystudent.evaluation.results import ComparisonResult, RobustnessResult
from noisystudent.evaluation.view import (
    Column,
    MeasureView,
    Models,
    Points,
    charted_models,
    column,
    heights,
    series_of,
)

_CLEAN = 0  # beside the severities, which begin with 1
_TITLE_LETTERS = 28  # of a model's name in the title of a chart


def _lines(result: RobustnessResult) -> Iterator[str]:
    calibration = result.calibration
    if calibration is None:
        return
    even, odd = calibration.temperatures
    yield ""
    yield f"calibration as it is -> each half at the other's temperature, {even:.2f} and {odd:.2f}:"
    by_severity = {f"severity {severity}": scores for severity, scores in calibration.corrupted.items()}
    for name, scores in {"clean": calibration, **by_severity}.items():
        plain, scaled = scores.plain, scores.scaled
        yield f"  {name:<18} ece {plain.ece:.4f} -> {scaled.ece:.4f}  nll {plain.nll:.4f} -> {scaled.nll:.4f}"


def _results(comparison: ComparisonResult) -> list[CalibrationResult]:
    return [result.calibration for result in comparison.measured.values() if result.calibration]


def _summary(comparison: ComparisonResult) -> str:
    return "calibration" if _results(comparison) else ""


def _severities(comparison: ComparisonResult) -> list[int]:
    """All severities at which errors or calibration were measured, in ascending order."""
    severities: set[int] = set()
    for result in comparison.measured.values():
        if result.corruptions:
            severities.update(
                severity for by_severity in result.corruptions.errors.values() for severity in by_severity
            )
        if result.calibration:
            severities.update(result.calibration.corrupted)
    return sorted(severities)


def _columns(comparison: ComparisonResult) -> Iterator[Column]:
    yield from _error_column("ECE", comparison, _CLEAN)
    for severity in _severities(comparison)[-1:]:
        yield from _error_column(f"ECE, severity {severity}", comparison, severity)


def _error_column(name: str, comparison: ComparisonResult, severity: int) -> Iterator[Column]:
    errors = [_error(result, severity, scaled=False) for result in comparison.measured.values()]
    yield from column(name, errors, wording.percent, detail=True)


def _error(result: RobustnessResult, severity: int, *, scaled: bool) -> float | None:
    """The expected calibration error at a severity, 0 for clean images; None if it was not measured."""
    calibration = result.calibration
    if calibration is None or (severity != _CLEAN and severity not in calibration.corrupted):
        return None
    scores = calibration if severity == _CLEAN else calibration.corrupted[severity]
    return scores.scaled.ece if scaled else scores.plain.ece


def _charts(comparison: ComparisonResult) -> Iterator[Markup]:
    models = charted_models(comparison)
    yield from _errors_by_severity(models, _severities(comparison))
    yield from _reliability(models)


def _errors_by_severity(models: Models, severities: Sequence[int]) -> Iterator[Markup]:
    """The calibration error on clean images and at each severity, before and after scaling, on one scale."""
    if not severities:
        return
    errors = {
        title: series_of(models, {name: _errors(result, severities, scaled=scaled) for name, result in models.items()})
        for title, scaled in (("Calibration error", False), ("Calibration error after temperature scaling", True))
    }
    for title, series in errors.items():
        if series:
            yield charts.line_chart(
                series,
                title=title,
                x_label=f"severity of {origin_of_corruptions(models)} corruptions",
                y_label="expected calibration error (%)",
                x_names=["clean", *map(str, severities)],
                covered=[0.0, *heights(errors)],
            )


def _errors(result: RobustnessResult, severities: Sequence[int], *, scaled: bool) -> Points:
    errors = [_error(result, severity, scaled=scaled) for severity in (_CLEAN, *severities)]
    return {float(position): error for position, error in enumerate(errors) if error is not None}


def _reliability(models: Models) -> Iterator[Markup]:
    """Diagrams of the first and the last model, on clean images and at the greatest severity."""
    calibrated = {name: result.calibration for name, result in models.items() if result.calibration}
    for name in dict.fromkeys([*list(calibrated)[:1], *list(calibrated)[-1:]]):
        scores, title = calibrated[name], f"Reliability of {wording.shortened(name, _TITLE_LETTERS)}"
        diagrams = [reliability_chart(scores.reliability, f"{title}, clean")]
        if scores.corrupted:
            worst = max(scores.corrupted)
            diagrams.append(reliability_chart(scores.corrupted[worst].reliability, f"{title}, severity {worst}"))
        yield from (diagram for diagram in diagrams if diagram is not None)


def _explanations(comparison: ComparisonResult) -> Iterator[str]:
    if _results(comparison):
        yield "ECE is the expected calibration error: 0% is perfect; under corruptions, of all of a severity together."
        yield "Temperature scaling: each half of the images at the temperature that was fitted on the other half."


VIEW = MeasureView(
    title="Calibration",
    lines=_lines,
    summary=_summary,
    columns=_columns,
    charts=_charts,
    explanations=_explanations,
)
