"""The robustness of several models on a page and in the terminal, composed of the views of all measures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from noisystudent.display import wording
from noisystudent.evaluation.measures import views
from noisystudent.evaluation.results import ComparisonResult
from noisystudent.evaluation.view import (
    MODELS_IN_CHARTS,
    Column,
    ExtraTable,
    Table,
    common_folder,
    difference_column,
    displayed_names,
)


@dataclass(frozen=True, slots=True)
class RobustnessView:
    """The content of ``robustness.html``; charts and extra tables are listed by the title of their measure."""

    sentence: str
    table: Table
    notes: list[str]
    explanations: list[str]
    warnings: list[str]
    charts: dict[str, list[Markup]]
    tables: dict[str, ExtraTable]
    left_out: int


def robustness_view(comparison: ComparisonResult) -> RobustnessView:
    """The content of the page's section on robustness; ``left_out`` counts the models that the charts leave out."""
    return RobustnessView(
        sentence=measured_sentence(comparison),
        table=robustness_table(comparison),
        notes=notes(comparison),
        explanations=explanations(comparison),
        warnings=warnings(comparison),
        charts=robustness_charts(comparison),
        tables=extra_tables(comparison),
        left_out=max(0, len(comparison.measured) - MODELS_IN_CHARTS),
    )


def robustness_table(comparison: ComparisonResult, *, compact: bool = False) -> Table:
    """The table of all measures, one row per model.

    Accuracies and errors are in percent; differences from the first model are in percentage points, with their 95%
    intervals. A column is there if any model has a value for it.

    Args:
        comparison: the results of all models.
        compact: whether to leave out the columns of calibration and most of those relative to a reference model.

    Returns:
        The table, whose first column holds the names of the models.
    """
    columns = [column for column in _columns(comparison) if not (compact and column.detail)]
    names = displayed_names(comparison).values()
    rows = zip(names, *(column.cells for column in columns), strict=True)
    return Table(("", *(column.name for column in columns)), tuple(rows))


def _columns(comparison: ComparisonResult) -> Iterator[Column]:
    results, differences = comparison.measured, comparison.differences
    yield Column("Clean", tuple(wording.percent(result.clean.top1) for result in results.values()))
    yield from difference_column(
        comparison, "Difference, clean", [differences[name].clean if name in differences else None for name in results]
    )
    for view in views("corruptions", "calibration"):
        yield from view.columns(comparison)


def robustness_charts(comparison: ComparisonResult) -> dict[str, list[Markup]]:
    """The charts of each measure by its title; measures without charts are left out."""
    charts = {view.title: list(view.charts(comparison)) for view in views()}
    return {title: several for title, several in charts.items() if several}


def extra_tables(comparison: ComparisonResult) -> dict[str, ExtraTable]:
    """The tables that measures have beside the table of all measures, by the measure's title."""
    tables = {view.title: view.table(comparison) for view in views()}
    return {title: table for title, table in tables.items() if table is not None}


def measured_sentence(comparison: ComparisonResult) -> str:
    """One sentence that says what was measured, and on which images."""
    first = comparison.measured[comparison.first]
    where = f"the {comparison.role} source ({first.source})" if comparison.role else first.source
    measures = ["accuracy", *filter(None, (view.summary(comparison) for view in views()))]
    return f"Measured on {wording.plural(first.count, 'image')} of {where}: {wording.joined(measures)}."


def notes(comparison: ComparisonResult) -> list[str]:
    """What every reader must know: which images were used, how they were generated, and what differences are."""
    classes = dict.fromkeys(result.classes for result in comparison.measured.values() if result.classes)
    texts = [*(f"The images have {text}." for text in classes), *_generated_images(comparison)]
    if comparison.role == "validation":
        texts.append(
            "Validation images also chose between settings and rounds, so the numbers are somewhat optimistic."
        )
    if comparison.differences:
        texts.append(
            f"Differences are accuracies minus those of {displayed_names(comparison)[comparison.first]}, in percentage "
            "points, with 95% intervals over images."
        )
    if folder := common_folder(comparison):
        texts.append(f"The checkpoints lie in {folder}.")
    return texts


def _generated_images(comparison: ComparisonResult) -> Iterator[str]:
    tables = {view.title: view.generated(comparison) for view in views()}
    generated = {title: sizes for title, sizes in tables.items() if sizes is not None}
    if generated:
        sizes = sorted({str(size) for several in generated.values() for size in several})
        strengths = f", with the strengths published for {' and '.join(sizes)} px" if sizes else ""
        images = wording.joined(list(generated)).capitalize()
        yield (
            f"{images} were generated from the images at hand{strengths}: their numbers "
            "are not those of the published files of ImageNet-C, CIFAR-10-C or ImageNet-P."
        )


def explanations(comparison: ComparisonResult) -> list[str]:
    """What the columns and charts mean, for the measures with results."""
    return [
        text for view in views("corruptions", "perturbations", "calibration") for text in view.explanations(comparison)
    ]


def warnings(comparison: ComparisonResult) -> list[str]:
    """The warnings of all measures, each with the models that it is about."""
    about: dict[str, list[str]] = {}
    names = displayed_names(comparison)
    for name, result in comparison.measured.items():
        for view in views():
            for warning in view.warnings(result):
                about.setdefault(warning, []).append(names[name])
    return [
        f"{'All' if len(models) == len(names) else ', '.join(models)}: {warning}" for warning, models in about.items()
    ]
