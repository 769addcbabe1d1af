"""Display of the errors under corruptions: columns, charts and notes of the page, lines in the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from noisystudent.display import charts, wording
from noisystudent.evaluation.corruptions.results import CorruptionResult
from noisystudent.evaluation.results import ComparisonResult, RobustnessResult
from noisystudent.evaluation.view import (
    Column,
    MeasureView,
    Models,
    charted_models,
    column,
    conditions,
    difference_column,
    dot_charts,
    ignored_lines,
    origin,
    origin_text,
    percentage_of_baseline,
    series_of,
    tenths,
)


def origin_of_corruptions(models: Models) -> str:
    """How the corrupted images of these models came about: ``published`` only if none were generated."""
    return origin(result.corruptions.source for result in models.values() if result.corruptions)


def _lines(result: RobustnessResult) -> Iterator[str]:
    corruptions = result.corruptions
    if corruptions is None:
        return
    yield ""
    where = origin_text(corruptions.source, corruptions.folder, corruptions.table)
    yield f"error under corruptions ({where}), by severity:"
    severities = sorted({severity for by_severity in corruptions.errors.values() for severity in by_severity})
    for name, by_severity in corruptions.errors.items():
        cells = (f"{by_severity[severity]:.4f}" if severity in by_severity else "-" for severity in severities)
        yield f"  {name:<18}" + "".join(f" {cell:>6}" for cell in cells)
    missing = corruptions.missing
    reason = f"there is no {'; no '.join(missing)}" if missing else "some classes have no images"
    yield f"  mean {f'none of all 15: {reason}' if corruptions.mean is None else format(corruptions.mean, '.4f')}"
    yield from _lines_about_the_set(corruptions)
    if alexnet := corruptions.alexnet:
        yield f"  mean corruption error (AlexNet has 100) {alexnet.mean_corruption_error:.2f}"
        yield (
            f"  relative mean corruption error {alexnet.relative_mean_corruption_error:.2f}, "
            f"clean error {alexnet.clean_error:.4f} on {alexnet.clean_source}"
        )
    if relative := corruptions.relative_to_baseline:
        mean = percentage_of_baseline(relative.mean_corruption_error)
        yield f"  mean corruption error ({relative.baseline} has 100) {mean}"


def _lines_about_the_set(corruptions: CorruptionResult) -> Iterator[str]:
    if classes := corruptions.missing_classes:
        first = classes if isinstance(classes, tuple) else next(iter(classes.values()))
        where = conditions(classes) if isinstance(classes, dict) else "every condition"
        count = wording.plural(len(first), "class", "classes")
        yield f"  note: no images of {count} of the model's ({first[0]!r}) in {where}"
    if unreadable := corruptions.unreadable:
        yield (
            f"  note: images that could not be read are left out: {sum(unreadable.values())} in "
            f"{conditions(unreadable)}"
        )
    yield from ignored_lines(corruptions.ignored)


def _results(comparison: ComparisonResult) -> list[CorruptionResult]:
    return [result.corruptions for result in comparison.measured.values() if result.corruptions]


def _summary(comparison: ComparisonResult) -> str:
    results = _results(comparison)
    if not results:
        return ""
    count = max(len(result.errors) for result in results)
    made = origin(result.source for result in results)
    return f"errors under {wording.plural(count, f'{made} corruption')}"


def _columns(comparison: ComparisonResult) -> Iterator[Column]:
    results = [result.corruptions for result in comparison.measured.values()]
    accuracies = [
        1 - result.mean_of_present if result and result.mean_of_present is not None else None for result in results
    ]
    differences = [
        comparison.differences[name].corruptions if name in comparison.differences else None
        for name in comparison.measured
    ]
    if any(value is not None for value in (*accuracies, *differences)):
        yield Column("Corrupted", tuple(map(wording.percent, accuracies)))
        yield from difference_column(comparison, "Difference, corrupted", differences)
    alexnet = [result.alexnet if result else None for result in results]
    yield from column("mCE", [errors.mean_corruption_error if errors else None for errors in alexnet], tenths)
    relative = [errors.relative_mean_corruption_error if errors else None for errors in alexnet]
    yield from column("Relative mCE", relative, tenths, detail=True)


def _charts(comparison: ComparisonResult) -> Iterator[Markup]:
    models = charted_models(comparison)
    yield from _errors_by_severity(models)
    yield from _errors_by_corruption(models)


def _errors_by_severity(models: Models) -> Iterator[Markup]:
    results = {name: result.corruptions for name, result in models.items() if result.corruptions}
    shared, severities = _shared(list(results.values()))
    if shared:
        values = {
            name: {
                float(position): _mean([result.errors[corruption][severity] for corruption in shared])
                for position, severity in enumerate(severities)
            }
            for name, result in results.items()
        }
        yield charts.line_chart(
            series_of(models, values),
            title=f"Error by severity, mean over {wording.plural(len(shared), 'corruption')}",
            x_label=f"severity of {origin_of_corruptions(models)} corruptions",
            y_label="top-1 error (%)",
            x_names=[str(severity) for severity in severities],
        )


def _shared(results: Sequence[CorruptionResult]) -> tuple[list[str], list[int]]:
    """The corruptions that all models have at every severity that occurs (only their means compare); the severities."""
    severities = sorted(
        {severity for result in results for by_severity in result.errors.values() for severity in by_severity}
    )
    names = list(results[0].errors) if severities else []
    complete = [
        name for name in names if all(set(severities) <= set(result.errors.get(name, ())) for result in results)
    ]
    return complete, severities


def _errors_by_corruption(models: Models) -> Iterator[Markup]:
    values = {
        name: {
            corruption: _mean(list(by_severity.values()))
            for corruption, by_severity in result.corruptions.errors.items()
            if by_severity
        }
        for name, result in models.items()
        if result.corruptions
    }
    yield from dot_charts(
        models,
        values,
        title="Error by corruption, mean over severities",
        x_label=f"top-1 error, {origin_of_corruptions(models)} corruptions (%)",
    )


def _explanations(comparison: ComparisonResult) -> Iterator[str]:
    results = _results(comparison)
    missing = dict.fromkeys(name.replace("_", " ") for result in results for name in result.missing)
    complete = sorted({result.present for result in results if result.present})
    if complete:
        number = " or ".join(map(str, complete))
        absent = f" There is no {'; no '.join(missing)}." if missing else ""
        yield f"Corrupted is the mean accuracy over {number} corruptions at all five severities.{absent}"
    elif results:
        yield "Not all five severities of any corruption were measured, so there is no mean accuracy over them."
    without_images = {name for result in results for name in _missing_classes(result)}
    if without_images:
        count = wording.plural(len(without_images), "class", "classes")
        yield f"The corrupted images have none of {count} of the model's."
    differences = [differences.corruptions for differences in comparison.differences.values()]
    counts = sorted({difference.conditions for difference in differences if difference})
    if counts:
        yield (
            f"Its difference is over the {' or '.join(map(str, counts))} conditions, corruption and severity, under "
            "which all were measured."
        )
    if any(result.alexnet for result in results):
        yield "mCE is in percent of AlexNet's errors on the published ImageNet-C: 100 is as bad, less is better."


def _missing_classes(result: CorruptionResult) -> set[str]:
    """The classes without images in at least one condition."""
    if isinstance(result.missing_classes, tuple):
        return set(result.missing_classes)
    return {name for names in result.missing_classes.values() for name in names}


def _generated(comparison: ComparisonResult) -> set[int] | None:
    generated = [result for result in _results(comparison) if result.source == "generated"]
    return {result.table for result in generated if result.table is not None} if generated else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


VIEW = MeasureView(
    title="Corruptions",
    lines=_lines,
    summary=_summary,
    columns=_columns,
    charts=_charts,
    explanations=_explanations,
    generated=_generated,
)
