"""The parts from which every measure builds its display: table columns, charts, notes, and lines in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from markupsafe import Markup

from noisystudent.display import charts, wording
from noisystudent.display.charts import CONTROL, STUDENT, Series
from noisystudent.evaluation.results import ComparisonResult, Difference, RobustnessResult

MODELS_IN_CHARTS = 8  # the number of colors

Models = Mapping[str, RobustnessResult]  # by displayed name
Points = Mapping[float, float]  # fractions by position on the x axis


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts; its first column holds the names of the rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the comparison's table with one cell per model; compact tables leave out a ``detail``."""

    name: str
    cells: tuple[str, ...]
    detail: bool = False


@dataclass(frozen=True, slots=True)
class ExtraTable:
    """A separate table of one measure, with its caption and notes."""

    caption: str
    table: Table
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureView:
    """How one measure is displayed; without results of the measure, every function gives nothing.

    Attributes:
        title: the heading of its charts and tables.
        lines: what ``evaluate`` prints for one model.
        summary: what was measured, as a part of the sentence above the table.
        columns: its columns of the comparison's table.
        charts: its charts; in all of them a model has the same color.
        explanations: what its columns and charts mean.
        warnings: reasons to doubt the numbers of one model.
        generated: the tables of strengths, by image size in pixels, that images were generated with; None if it
            generated none.
        table: a separate table below the charts.
    """

    title: str
    lines: Callable[[RobustnessResult], Iterable[str]]
    summary: Callable[[ComparisonResult], str] = lambda _: ""
    columns: Callable[[ComparisonResult], Iterable[Column]] = lambda _: ()
    charts: Callable[[ComparisonResult], Iterable[Markup]] = lambda _: ()
    explanations: Callable[[ComparisonResult], Iterable[str]] = lambda _: ()
    warnings: Callable[[RobustnessResult], Iterable[str]] = lambda _: ()
    generated: Callable[[ComparisonResult], set[int] | None] = lambda _: None
    table: Callable[[ComparisonResult], ExtraTable | None] = lambda _: None


def displayed_names(comparison: ComparisonResult) -> dict[str, str]:
    """The displayed name of each model: capitalized, and without the folder that contains all checkpoints."""
    left_out = len(common_folder(comparison))
    names = {}
    for name in comparison.measured:
        number, space, path = name.partition(" ")
        text = number + space + path[left_out:]
        names[name] = text[:1].upper() + text[1:]
    return names


def common_folder(comparison: ComparisonResult) -> str:
    """The folder, with a slash at its end, that contains all paths after the models' numbers; often empty."""
    folders = [name.partition(" ")[2].split("/")[:-1] for name in comparison.measured]
    alike = takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
    common = "".join(f"{parts[0]}/" for parts in alike)
    return "" if common == "/" else common  # without the root the remaining paths would look relative


def charted_models(comparison: ComparisonResult) -> Models:
    """The models in the charts by displayed name: all, or the first and the last seven."""
    names = displayed_names(comparison)
    models = [(names[name], result) for name, result in comparison.measured.items()]
    return dict(models if len(models) <= MODELS_IN_CHARTS else [models[0], *models[1 - MODELS_IN_CHARTS :]])


def column(
    name: str, values: Sequence[float | None], write: Callable[[float | None], str], *, detail: bool = False
) -> Iterator[Column]:
    """The column of these values, one per model, unless all of them are None."""
    if any(value is not None for value in values):
        yield Column(name, tuple(map(write, values)), detail)


def difference_column(
    comparison: ComparisonResult, name: str, differences: Sequence[Difference | None]
) -> Iterator[Column]:
    """The differences from the first model, one per model, in percentage points; nothing for a single model."""
    if comparison.differences:
        cells = (
            "" if model == comparison.first else _interval(difference)
            for model, difference in zip(comparison.measured, differences, strict=True)
        )
        yield Column(name, tuple(cells))


def _interval(difference: Difference | None) -> str:
    if difference is None:
        return wording.MISSING
    low, high = (wording.points(end) for end in difference.interval)
    return f"{wording.points(difference.difference)} ({low} to {high})"


def tenths(value: float | None) -> str:
    """A number with one decimal."""
    return wording.number(value, 1)


def series_of(models: Models, values: Mapping[str, Points]) -> list[Series]:
    """The fractions of each model in percent, in its color; models without values are left out."""
    return [
        Series(name, tuple((position, 100 * fraction) for position, fraction in values[name].items()), color=color)
        for color, name in zip(_colors(len(models)), models, strict=True)
        if values.get(name)
    ]


def _colors(models: int) -> list[int]:
    """The colors of models: the first is the control, or what others are compared with, the last the student."""
    between = range(CONTROL + 1, CONTROL + models - 1)
    return [CONTROL, *between, STUDENT] if models > 1 else [STUDENT]


def dot_charts(
    models: Models, values: Mapping[str, Mapping[str, float]], *, title: str, x_label: str
) -> Iterator[Markup]:
    """A dot chart of fractions by model and row, the rows in the order of their first appearance; none without rows."""
    rows = list(dict.fromkeys(row for by_row in values.values() for row in by_row))
    if rows:
        positions = {
            model: {float(position): by_row[row] for position, row in enumerate(rows) if row in by_row}
            for model, by_row in values.items()
        }
        names = [row.replace("_", " ") for row in rows]
        yield charts.dot_chart(names, series_of(models, positions), title=title, x_label=x_label)


def heights(charted: Mapping[str, Sequence[Series]]) -> list[float]:
    """The y values of all series, for charts that share an axis."""
    return [y for several in charted.values() for series in several for _, y in series.points]


def origin(sources: Iterable[str]) -> str:
    """How images came about: ``published`` if all were, else ``generated``."""
    return "published" if set(sources) == {"published"} else "generated"


def conditions(names: Iterable[str]) -> str:
    """The number of conditions, with the first as an example."""
    listed = list(names)
    return f"{wording.plural(len(listed), 'condition')}, such as {listed[0]}"


def ignored_lines(ignored: Sequence[str]) -> Iterator[str]:
    """The line about the names in a published set's folder that are not parts of the set."""
    if ignored:
        more = f" and {len(ignored) - 5} more" if len(ignored) > 5 else ""
        yield f"  note: passed over in the folder: {', '.join(ignored[:5])}{more}"


def origin_text(source: str, folder: str, table: int | None) -> str:
    """Where the images of a measure come from, for the terminal."""
    return f"published, {folder}" if source == "published" else f"generated, strengths for {table} px"


def percentage_of_baseline(value: float | None) -> str:
    """A mean relative to a baseline, which is None for an incomplete set."""
    return "none: not all of the set are there" if value is None else f"{value:.2f}"
