"""A table of one kind, from finished runs or from measured models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from noisystudent.errors import SettingsError, nearest_name
from noisystudent.evaluation.results import ComparisonResult
from noisystudent.reporting.article.cells import accuracy_cell
from noisystudent.reporting.article.distillation import ALONE, distillation_table, require_distillations
from noisystudent.reporting.article.figures import attack_figure, method_figures
from noisystudent.reporting.article.methods import TOP1, TOP5, method_columns, method_rows
from noisystudent.reporting.article.robustness import (
    Measured,
    attack_table,
    epsilon_of,
    measured_in_comparison,
    measured_in_runs,
    robustness_table,
)
from noisystudent.reporting.article.runs import FinishedRun, grouped, read_runs
from noisystudent.results.article import ArticleColumn, ArticleFigure, ArticleRow, ArticleTable, TableKind

_TITLES: dict[TableKind, str] = {
    "methods": "Methods",
    "distillation": "Distillation",
    "robustness": "Robustness",
    "attack": "Accuracy under FGSM",
}
_INTERVALS = (
    "In brackets: 95% intervals, over test images and the luck of training. In parentheses: the difference to "
    "labels-only training on the same images, in points, with its paired interval."
)
_OVER_IMAGES = "In brackets: 95% intervals, over images and, of several seeds, over trainings."


def require_kind(kind: str, *, with_source: bool) -> None:
    """Raises ``SettingsError`` for an unknown kind of table, or one that models on a source cannot fill."""
    kinds = get_args(TableKind)
    if kind not in kinds:
        raise SettingsError(f"unknown table {kind!r}; there are {', '.join(kinds)}.{nearest_name(kind, kinds)}")
    if with_source and kind == "distillation":
        raise SettingsError(
            "the table distillation is made of folders of 'noisystudent distill', which have their labels-only models; "
            "leave out --source, or give --table methods for checkpoints."
        )


def table_of_runs(kind: TableKind, folders: Sequence[Path], published: Sequence[ArticleRow] = ()) -> ArticleTable:
    """A table from the folders of finished runs and distillations; those that differ in the seed alone share rows.

    Raises ``NoisyStudentError`` for what is no finished run, and for runs that this kind of table has no place for.
    """
    runs = read_runs(folders)
    groups = grouped(runs)
    figures: list[ArticleFigure] = []
    columns: tuple[ArticleColumn, ...]
    if kind == "methods":
        columns, rows = method_columns(groups), method_rows(groups)
        figures = method_figures(groups)
    elif kind == "distillation":
        require_distillations(runs)
        columns, rows = distillation_table(groups)
    else:
        return _of_measured(kind, measured_in_runs(groups), published, _notes(kind, runs))
    return _table(kind, columns, [*rows, *published], figures, _notes(kind, runs))


def table_of_comparison(
    kind: TableKind, comparison: ComparisonResult, published: Sequence[ArticleRow] = ()
) -> ArticleTable:
    """The table robustness or attack of models that were measured on the same images."""
    return _of_measured(kind, measured_in_comparison(comparison), published, [_source_note(comparison)])


def table_of_scores(
    scores: Sequence[tuple[ArticleRow, float, float | None]], published: Sequence[ArticleRow]
) -> ArticleTable:
    """The table methods of checkpoints that were scored on the same images: a row without numbers, top-1 and top-5."""
    rows = []
    for row, top1, top5 in scores:
        images = row.images or 1
        found = {TOP1: top1} | ({} if top5 is None else {TOP5: top5})
        cells = {name: accuracy_cell([value], images, luck=False) for name, value in found.items()}
        rows.append(replace(row, cells=cells))
    names = dict.fromkeys(name for row in rows for name in row.cells)
    columns = tuple(ArticleColumn(name=name) for name in names)
    return _table("methods", columns, [*rows, *published], [], [_OVER_IMAGES])


def _of_measured(
    kind: TableKind, measured: Sequence[Measured], published: Sequence[ArticleRow], notes: list[str]
) -> ArticleTable:
    make = attack_table if kind == "attack" else robustness_table
    columns, rows = make(measured)
    every = [*rows, *published]
    names = {column.name for column in columns}
    further = dict.fromkeys(name for row in published for name in row.cells if name not in names)
    columns += tuple(ArticleColumn(name=name, is_fraction="mCE" not in name) for name in further)
    if kind == "attack":
        columns = tuple(sorted(columns, key=lambda column: epsilon_of(column.name)))
    return _table(kind, columns, every, [attack_figure(every)] if kind == "attack" else [], notes)


def _table(
    kind: TableKind,
    columns: Sequence[ArticleColumn],
    rows: Sequence[ArticleRow],
    figures: Sequence[ArticleFigure],
    notes: Sequence[str],
) -> ArticleTable:
    return ArticleTable(
        kind=kind,
        title=_TITLES[kind],
        columns=tuple(columns),
        rows=tuple(rows),
        figures=tuple(figures),
        notes=tuple(notes),
    )


def _notes(kind: TableKind, runs: Sequence[FinishedRun]) -> list[str]:
    notes = [_INTERVALS if kind in ("methods", "distillation") else _OVER_IMAGES]
    if len({run.held_out for run in runs}) > 1:
        notes.append("The runs were tested on different images; rows of different runs are not compared pair by pair.")
    if any(run.role == "validation" for run in runs):
        notes.append("Some runs have no test images: their numbers are of validation images, which chose among models.")
    if kind == "methods" and any(run.summary.robustness for run in runs):
        notes.append("Columns after the accuracies are of the runs' suites; C are corrupted images, P perturbed ones.")
    if kind == "distillation":
        notes.append(f"The column {ALONE} is the student without a teacher, on as many samples.")
    return notes


def _source_note(comparison: ComparisonResult) -> str:
    first = comparison.measured[comparison.first]
    return f"Measured on {first.count:,} images of {first.source}. {_OVER_IMAGES}"
