"""The table of methods, the article's first: what each learned from, what it took, and how accurate it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from noisystudent.evaluation.metrics.results import Scores, ScoresAtSize
from noisystudent.reporting.article.cells import accuracy_cell, paired_difference
from noisystudent.reporting.article.origins import (
    baseline_name,
    extra_data,
    labels_only_name,
    student_name,
    teacher_name,
)
from noisystudent.reporting.article.robustness import suite_cells
from noisystudent.reporting.article.runs import FinishedRun
from noisystudent.results.article import ArticleCell, ArticleColumn, ArticleRow
from noisystudent.results.fix import FixResult
from noisystudent.results.run import EvaluatedModel, Role

TOP1, TOP5 = "top-1", "top-5"
_FEW = 5  # classes, among which the true one always is
ON_NETWORKS = (" features", " encoder")  # how the names of simple classifiers on a network end


@dataclass(frozen=True)
class Entry:
    """A model of a run in a table: what its method is called, its stage in ``scores``, and what it learned from.

    ``fixed`` is the resolution fix that ``model`` went through, if it did.
    """

    method: str
    stage: str
    model: EvaluatedModel
    uses_unlabeled: bool = False
    worse: bool = False
    fixed: FixResult | None = None

    def scores(self, role: Role) -> Scores | ScoresAtSize | None:
        """The scores on the source with this role; of a fixed model, those after the fix."""
        if self.fixed is None:
            return self.model.scores(role)
        return next((at.scores(role) for at in self.fixed.scores if at.fixed), None)

    @property
    def measured_as(self) -> str:
        """The name under which a run's suite has it."""
        return f"{self.model.name} fixed" if self.fixed else self.model.name


def method_columns(groups: Sequence[Sequence[FinishedRun]]) -> tuple[ArticleColumn, ...]:
    """The columns of numbers, those of the runs' suites last; with at most five classes there is no top-5 accuracy."""
    few = len(groups[0][0].summary.classes) <= _FEW
    columns = [ArticleColumn(name=TOP1)] if few else [ArticleColumn(name=TOP1), ArticleColumn(name=TOP5)]
    of_suites: dict[str, bool] = {}
    for group in groups:
        for entry in entries_of(group[0]):
            of_suites |= {name: is_fraction for name, (is_fraction, _) in _suite_of(group, entry.measured_as).items()}
    return (*columns, *(ArticleColumn(name=name, is_fraction=of_suites[name]) for name in of_suites))


def method_rows(groups: Sequence[Sequence[FinishedRun]]) -> list[ArticleRow]:
    """The rows of groups of runs: simple classifiers, labels-only training, teacher, each student.

    A model that several groups share, such as the teacher of runs that differ in their students alone, has one row.
    """
    rows: list[ArticleRow] = []
    shown: set[tuple[str, ...]] = set()
    for group in groups:
        names = list(dict.fromkeys(baseline.name for run in group for baseline in run.summary.baselines))
        rows += [_baseline_row(group, name) for name in names]
        for number in range(min(len(entries_of(run)) for run in group)):
            model = tuple(run.identity(entries_of(run)[number].stage) for run in group)
            if model not in shown:
                rows.append(_row(group, number))
            shown |= {model} if all(model) else set()
    return rows


def _suite_of(group: Sequence[FinishedRun], name: str) -> dict[str, tuple[bool, ArticleCell]]:
    """What the suites of all runs of a group measured of the model with this name; none where one lacks it."""
    suites = [run.summary.robustness for run in group]
    results = [suite.measured[name] for suite in suites if suite and name in suite.measured]
    return suite_cells(results) if len(results) == len(group) else {}


def entries_of(run: FinishedRun) -> list[Entry]:
    """The models of a run that a table has, in the order of training."""
    summary, found = run.summary, []
    if summary.teacher:
        stage = "teachers" if summary.teachers else "teacher-1" if run.is_distillation else "teacher"
        found.append(Entry(teacher_name(run), stage, summary.teacher))
    if summary.control and summary.control.name != "teacher":
        found.append(Entry(labels_only_name(run), "control", summary.control))
    for student in summary.rounds:
        stage = student.name.replace(" ", "-")
        name = student.name if run.is_distillation else student_name(run, student.name)
        found.append(Entry(name, stage, student, run.images("unlabeled") > 0, student.worse))
    return [*found, *_fixed_entries(run, found)]


def _fixed_entries(run: FinishedRun, found: Sequence[Entry]) -> list[Entry]:
    """The models that were fixed for a larger size, each after the entry of the model as it was trained."""
    trained = {entry.stage: entry for entry in found}
    fixed = [(trained.get(result.model.replace(" ", "-")), result) for result in run.summary.fixed]
    return [
        replace(entry, method=f"{entry.method}, resolution fix", stage=result.checkpoint, fixed=result)
        for entry, result in fixed
        if entry is not None
    ]


def _row(group: Sequence[FinishedRun], number: int) -> ArticleRow:
    first = group[0]
    entries = [entries_of(run)[number] for run in group]
    size = first.facts.format.size if first.facts.format else None
    scores = [entry.scores(run.role) for run, entry in zip(group, entries, strict=True)]
    fixed = entries[0].fixed
    images = min(score.count for score in scores if score)
    cells = {TOP1: with_difference(group, entries, [score.top1 for score in scores if score], images)}
    top5 = [score.top5 for score in scores if score and score.top5 is not None]
    if len(top5) == len(scores):
        cells[TOP5] = accuracy_cell(top5, images, luck=first.has_luck)
    cells |= {name: cell for name, (_, cell) in _suite_of(group, entries[0].measured_as).items()}
    return ArticleRow(
        method=entries[0].method + _worse(entries),
        model=entries[0].model.model,
        parameters=entries[0].model.parameters,
        extra_data=extra_data(first, uses_unlabeled=entries[0].uses_unlabeled),
        train_size=fixed.trained_size if fixed else size,
        test_size=fixed.size if fixed else size,
        samples_seen=entries[0].model.samples_seen,
        seeds=tuple(run.seed for run in group),
        images=images,
        cells=cells,
    )


def _worse(entries: Sequence[Entry]) -> str:
    count = sum(entry.worse for entry in entries)
    if not count:
        return ""
    return (
        " (worse, not kept)" if count == len(entries) else f" (worse, not kept, with {count} of {len(entries)} seeds)"
    )


def with_difference(
    group: Sequence[FinishedRun], entries: Sequence[Entry], top1: Sequence[float], images: int
) -> ArticleCell:
    """An accuracy, with its paired difference to labels-only training where both stored their answers."""
    cell = accuracy_cell(top1, images, luck=group[0].has_luck)
    reference = "control" if group[0].summary.control else "teacher"
    mine = [run.correct(entry.stage) for run, entry in zip(group, entries, strict=True)]
    others = [run.correct(reference) for run in group]
    if entries[0].stage == reference or any(values is None for values in (*mine, *others)):
        return cell
    difference, interval = paired_difference(
        [values for values in mine if values is not None],
        [values for values in others if values is not None],
        same_images=len({run.held_out for run in group}) == 1,
        luck=group[0].has_luck,
    )
    return ArticleCell(
        value=cell.value,
        by_seed=cell.by_seed,
        interval=cell.interval,
        difference=difference,
        difference_interval=interval,
    )


def _baseline_row(group: Sequence[FinishedRun], name: str) -> ArticleRow:
    found = [(run, one.top1) for run in group for one in run.summary.baselines if one.name == name]
    count = min(scores.count for run, _ in found if (scores := run.summary.student.scores(run.role)))
    network = group[0].summary.teacher if name.endswith(ON_NETWORKS) else None  # of the architecture of the run's
    size = group[0].facts.format.size if group[0].facts.format else None
    return ArticleRow(
        method=baseline_name(group[0], name),
        model=network.model if network else "",
        parameters=network.parameters if network else None,
        extra_data=extra_data(group[0], uses_unlabeled="spreading" in name),
        train_size=size,
        test_size=size,
        seeds=tuple(run.seed for run, _ in found),
        images=count,
        cells={TOP1: accuracy_cell([top1 for _, top1 in found], count, luck=False)},
    )
