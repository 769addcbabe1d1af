"""The figures beside a table: accuracy over rounds, over parameters, over the unlabeled images, and under attack."""

from __future__ import annotations

from collections.abc import Sequence

from noisystudent.reporting.article.methods import TOP1, method_rows
from noisystudent.reporting.article.robustness import epsilon_of
from noisystudent.reporting.article.runs import FinishedRun
from noisystudent.results.article import ArticleCell, ArticleFigure, ArticlePoint, ArticleRow, ArticleSeries

_ACCURACY = "top-1 accuracy (%)"


def method_figures(groups: Sequence[Sequence[FinishedRun]]) -> list[ArticleFigure]:
    """The figures that groups of runs can fill: each needs at least two points that differ in its x."""
    found = [_over_rounds(groups), _over_parameters(groups), _over_unlabeled(groups)]
    return [figure for figure in found if figure.series]


def attack_figure(rows: Sequence[ArticleRow]) -> ArticleFigure:
    """Accuracy over epsilon, published rows last."""
    series = [
        ArticleSeries(
            name=_named(row),
            points=tuple(_point(epsilon_of(name), cell) for name, cell in row.cells.items()),
            published=row.published,
        )
        for row in rows
    ]
    return ArticleFigure(
        name="attack",
        title="Accuracy under FGSM",
        x_label="epsilon (of 255)",
        y_label=_ACCURACY,
        series=tuple(series),
    )


def _named(row: ArticleRow) -> str:
    return f"{row.method}, {row.model} (published)" if row.published else row.method


def _over_rounds(groups: Sequence[Sequence[FinishedRun]]) -> ArticleFigure:
    """Accuracy over rounds, from the teacher as round 0."""
    series = []
    for group in groups:
        if group[0].is_distillation:
            continue
        rows = [row for row in method_rows([group]) if row.method.startswith(("teacher", "Noisy Student", "SimCLRv2"))]
        points = tuple(_point(number, row.cells[TOP1]) for number, row in enumerate(rows))
        if len(points) > 2:
            series.append(ArticleSeries(name=group[0].folder.name, points=points))
    return ArticleFigure(
        name="rounds",
        title="Accuracy over rounds",
        x_label="round (0: teacher)",
        y_label=_ACCURACY,
        series=tuple(series),
    )


def _over_parameters(groups: Sequence[Sequence[FinishedRun]]) -> ArticleFigure:
    """Accuracy over millions of parameters: the last students, and labels-only models."""
    by_kind: dict[str, list[ArticlePoint]] = {"students": [], "labels only": []}
    for group in groups:
        rows = [row for row in method_rows([group]) if row.parameters]
        last = rows[-1:] if not rows or not rows[-1].method.endswith("labels only") else []
        for kind, chosen in (
            ("students", last),
            ("labels only", [r for r in rows if r.method.endswith("labels only")]),
        ):
            by_kind[kind] += [_point((row.parameters or 0) / 1e6, row.cells[TOP1]) for row in chosen]
    return _figure("parameters", "Accuracy over parameters", "parameters (millions)", by_kind)


def _over_unlabeled(groups: Sequence[Sequence[FinishedRun]]) -> ArticleFigure:
    """Accuracy of the last student over the number of unlabeled images."""
    points = [
        _point(group[0].images("unlabeled"), method_rows([group])[-1].cells[TOP1])
        for group in groups
        if group[0].images("unlabeled")
    ]
    return _figure("unlabeled", "Accuracy over unlabeled images", "unlabeled images", {"last student": points})


def _figure(name: str, title: str, x_label: str, by_kind: dict[str, list[ArticlePoint]]) -> ArticleFigure:
    series = tuple(
        ArticleSeries(name=kind, points=tuple(sorted(points, key=lambda point: point.x)))
        for kind, points in by_kind.items()
        if len({point.x for point in points}) > 1
    )
    return ArticleFigure(name=name, title=title, x_label=x_label, y_label=_ACCURACY, series=series)


def _point(x: float, cell: ArticleCell) -> ArticlePoint:
    interval = (100 * cell.interval[0], 100 * cell.interval[1]) if cell.interval else None
    return ArticlePoint(x=x, y=100 * cell.value, interval=interval)
