"""The table of the distillation family, as Yuan et al. 2020 have it: a column per method, a row per student."""

from __future__ import annotations

from collections.abc import Sequence

from noisystudent.errors import SettingsError
from noisystudent.reporting.article.cells import accuracy_cell
from noisystudent.reporting.article.methods import Entry, entries_of, with_difference
from noisystudent.reporting.article.runs import FinishedRun
from noisystudent.results.article import ArticleCell, ArticleColumn, ArticleRow

ALONE = "alone"
_OF_RECIPES = {
    "reversed": "Re-KD",
    "defective": "De-KD",
    "self-taught": "Tf-KD self",
    "virtual-teacher": "Tf-KD reg",
}
_OF_METHODS = {"kd": "KD", "virtual_teacher": "Tf-KD reg", "matched_smoothing": "label smoothing"}
_ORDER = (ALONE, "KD", "Re-KD", "De-KD", "Tf-KD self", "Tf-KD reg", "label smoothing")


def require_distillations(runs: Sequence[FinishedRun]) -> None:
    """Raises ``SettingsError`` for a run that is no distillation, or that has no labels-only model to compare with."""
    for run in runs:
        if not run.is_distillation:
            raise SettingsError(
                f"{run.folder} is no distillation: the table distillation is made of folders of 'noisystudent "
                "distill'. For a run, give --table methods."
            )
        if run.summary.control is None:
            raise SettingsError(
                f"{run.folder} has no labels-only model of the student, which is its column {ALONE!r}; distill with "
                "--labeled and rounds.controls above 0."
            )


def method_of(run: FinishedRun) -> str:
    """The column of a distillation: by its recipe, else by its method."""
    method = str(run.setting("distillation.method"))
    return _OF_RECIPES.get(run.summary.recipe or "", _OF_METHODS.get(method, method))


def distillation_table(groups: Sequence[Sequence[FinishedRun]]) -> tuple[tuple[ArticleColumn, ...], list[ArticleRow]]:
    """The columns and the rows; a teacher of a column of its own, such as a smaller one, begins no row.

    Raises ``SettingsError`` for two groups that would fill one cell.
    """
    rows: dict[tuple[str, tuple[int, ...]], dict[str, ArticleCell]] = {}
    teachers: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for group in groups:
        first, last = group[0], entries_of(group[0])[-1]
        key = (last.model.model, tuple(run.seed for run in group))
        cells, method = rows.setdefault(key, {}), method_of(first)
        if method in cells:
            raise SettingsError(
                f"two distillations of {last.model.model} are {method}, such as {first.folder}; a table has one cell "
                "for both. Give one of them, or make two tables."
            )
        cells.setdefault(ALONE, _alone(group))
        cells[method] = _taught(group)
        if first.summary.teacher:
            teachers.setdefault(key, []).append(f"{method}: {first.summary.teacher.model}")
    names = {name for cells in rows.values() for name in cells}
    ordered = [name for name in _ORDER if name in names] + sorted(names - set(_ORDER))
    built = [
        ArticleRow(method=model, model="; ".join(teachers.get((model, seeds), [])), seeds=seeds, cells=cells)
        for (model, seeds), cells in rows.items()
    ]
    return tuple(ArticleColumn(name=name) for name in ordered), built


def _taught(group: Sequence[FinishedRun]) -> ArticleCell:
    entries = [entries_of(run)[-1] for run in group]
    scores = [entry.model.scores(run.role) for run, entry in zip(group, entries, strict=True)]
    found = [score for score in scores if score]
    return with_difference(group, entries, [score.top1 for score in found], min(score.count for score in found))


def _alone(group: Sequence[FinishedRun]) -> ArticleCell:
    controls = [Entry(ALONE, "control", control) for run in group if (control := run.summary.control)]
    scores = [entry.model.scores(run.role) for run, entry in zip(group, controls, strict=True)]
    found = [score for score in scores if score]
    return accuracy_cell([score.top1 for score in found], min(score.count for score in found), luck=True)
