"""Display of the stability along perturbed sequences: columns, a chart and notes of the page, lines in the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from noisystudent.display import wording
from noisystudent.evaluation.perturbations.results import PerturbationResult
from noisystudent.evaluation.results import ComparisonResult, RobustnessResult
from noisystudent.evaluation.view import (
    Column,
    MeasureView,
    charted_models,
    column,
    dot_charts,
    ignored_lines,
    origin,
    origin_text,
    percentage_of_baseline,
    tenths,
)


def _lines(result: RobustnessResult) -> Iterator[str]:
    measured = result.perturbations
    if measured is None:
        return
    yield ""
    yield f"along perturbed sequences ({origin_text(measured.source, measured.folder, measured.table)}):"
    for name, stability in measured.perturbations.items():
        yield f"  {name:<18} flips {stability.flip_probability:.4f}  top-5 distance {stability.top5_distance:.3f}"
    if measured.missing:
        yield f"  mean none of all ten: there is no {'; no '.join(measured.missing)}"
    else:
        yield (
            f"  {'mean':<18} flips {measured.mean_flip_probability:.4f}  top-5 distance "
            f"{measured.mean_top5_distance:.3f}"
        )
    yield from ignored_lines(measured.ignored)
    if relative := measured.relative:
        yield (
            f"  {relative.baseline} has 100: mean flip rate {percentage_of_baseline(relative.mean_flip_rate)}, mean "
            f"top-5 distance {percentage_of_baseline(relative.mean_top5_distance)}"
        )


def _results(comparison: ComparisonResult) -> list[PerturbationResult]:
    return [result.perturbations for result in comparison.measured.values() if result.perturbations]


def _summary(comparison: ComparisonResult) -> str:
    results = _results(comparison)
    if not results:
        return ""
    count = max(len(result.perturbations) for result in results)
    made = origin(result.source for result in results)
    return f"changes of the answer along {wording.plural(count, f'{made} perturbation')}"


def _columns(comparison: ComparisonResult) -> Iterator[Column]:
    results = [result.perturbations for result in comparison.measured.values()]
    flips = [result.mean_flip_probability if result else None for result in results]
    yield from column("Flips", flips, wording.percent)
    relative = [result.relative if result else None for result in results]
    flip_rates = [rates.mean_flip_rate if rates else None for rates in relative]
    yield from column("mFR", flip_rates, tenths, detail=True)
    distances = [rates.mean_top5_distance if rates else None for rates in relative]
    yield from column("mT5D", distances, tenths, detail=True)


def _charts(comparison: ComparisonResult) -> Iterator[Markup]:
    models = charted_models(comparison)
    results = {name: result.perturbations for name, result in models.items() if result.perturbations}
    values = {
        model: {name: stability.flip_probability for name, stability in result.perturbations.items()}
        for model, result in results.items()
    }
    made = origin(result.source for result in results.values())
    yield from dot_charts(
        models, values, title="Flips by perturbation", x_label=f"flip probability, {made} sequences (%)"
    )


def _explanations(comparison: ComparisonResult) -> Iterator[str]:
    results = _results(comparison)
    if results:
        missing = dict.fromkeys(name.replace("_", " ") for result in results for name in result.missing)
        absent = f" Their mean needs {wording.joined(list(missing))} too." if missing else ""
        yield f"Flips are how often the answer changes between two frames of a sequence.{absent}"
    for name in dict.fromkeys(result.relative.baseline for result in results if result.relative):
        yield f"mFR and mT5D are flips and top-5 distance in percent of those of {name}: less is better."


def _generated(comparison: ComparisonResult) -> set[int] | None:
    generated = [result for result in _results(comparison) if result.source == "generated"]
    return {result.table for result in generated if result.table is not None} if generated else None


VIEW = MeasureView(
    title="Perturbations",
    lines=_lines,
    summary=_summary,
    columns=_columns,
    charts=_charts,
    explanations=_explanations,
    generated=_generated,
)
