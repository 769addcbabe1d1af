"""A study in words: its table in the paper's layout, as text, Markdown, CSV and one HTML page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noisystudent.artifacts.folder import atomic_write
from noisystudent.display.wording import aligned, duration, joined, percent, plural, points, printable, setting
from noisystudent.reporting.templates import template
from noisystudent.results.study import CellResult, StudyResult

PAGE, MARKDOWN, TABLE = "study.html", "study.md", "study.csv"
_CSV_COLUMNS = (
    *("cell", "settings", "published_top1", "published_difference", "top1", "top1_by_seed", "difference"),
    *("interval_low", "interval_high", "agreement", "interval_leaves_out_0", "samples_seen", "missing"),
)


@dataclass(frozen=True, slots=True)
class StudyView:
    """A study as texts: a sentence on how it was made, the columns and rows of its table, and notes."""

    title: str
    question: str
    sentence: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def study_view(result: StudyResult) -> StudyView:
    """The texts of a study."""
    published = any(row.published is not None or row.agreement for row in result.rows)
    columns = ["", "top-1 here", f"minus {result.reference}", "95% interval"]
    if published:
        columns += ["top-1 in the paper", "difference there", "sign"]
    return StudyView(
        title=result.title,
        question=result.question,
        sentence=_sentence(result),
        columns=tuple(columns),
        rows=tuple(_row(row, published=published) for row in result.rows),
        notes=tuple(_notes(result, published=published)),
    )


def _row(row: CellResult, *, published: bool) -> tuple[str, ...]:
    interval = f"{points(row.interval[0])} to {points(row.interval[1])}" if row.interval else "-"
    cells = [row.name, percent(row.mean), points(row.difference) if row.difference is not None else "-", interval]
    if published:
        there = "-" if row.published_difference is None else points(row.published_difference)
        cells += [percent(row.published), there, _sign(row)]
    return tuple(cells)


def _sign(row: CellResult) -> str:
    if not row.agreement:
        return "-"
    return row.agreement if row.agreement == "level" or row.shown else f"{row.agreement}, not shown"


def _sentence(result: StudyResult) -> str:
    seeds = f"seed {result.seeds[0]}" if len(result.seeds) == 1 else f"the mean of seeds {_listed(result.seeds)}"
    return (
        f"Test accuracy of the last student, {seeds}, on {plural(result.test_images, 'test image')} each. All runs "
        f"took {duration(result.seconds)}; stages that several cells share were trained once."
    )


def _listed(seeds: Sequence[int]) -> str:
    return joined([str(seed) for seed in seeds])


def _notes(result: StudyResult, *, published: bool) -> list[str]:
    notes = [
        f"The interval holds the sampling of test images{' and the luck of training' if result.luck else ''} "
        "(docs/study.md). Where it holds 0, this study does not show which one is better.",
    ]
    if published and result.source:
        notes.append(f"The paper's numbers: {result.source}. Its data and models are larger; only signs compare.")
    if result.finding:
        notes.append(f"The paper says: {result.finding}")
    notes += [f"{row.name} has no result. {row.missing}" for row in result.rows if row.missing]
    notes += [
        f"{row.name}: {', '.join(f'{name} {setting(value)}' for name, value in row.settings.items())}"
        for row in result.rows
        if row.settings
    ]
    return notes


def study_text(result: StudyResult, width: int | None = None) -> str:
    """A study as plain text, whose table keeps within the ``width`` columns of a terminal."""
    view = study_view(result)
    table = aligned([view.columns, *view.rows], width)
    lines = [view.title, view.question, "", *table, "", view.sentence, *view.notes]
    return "\n".join(printable(line) for line in lines)


def study_markdown(result: StudyResult) -> str:
    """A study as a Markdown table with its notes."""
    view = study_view(result)
    rows = [view.columns, ["---"] * len(view.columns), *view.rows]
    table = [f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in rows]
    notes = [f"- {_escaped(note)}" for note in view.notes]
    lines = [f"## {_escaped(view.title)}", _escaped(view.question), "", *table, "", view.sentence, "", *notes]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def study_csv(result: StudyResult) -> str:
    """A study as CSV with exact numbers; accuracies and differences are fractions."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for row in result.rows:
        low, high = row.interval or ("", "")
        writer.writerow(
            [
                row.name,
                "; ".join(f"{name}={setting(value)}" for name, value in row.settings.items()),
                *(_number(value) for value in (row.published, row.published_difference, row.mean)),
                " ".join(f"{value:.6g}" for value in row.top1),
                *(_number(row.difference), low, high, row.agreement),
                "yes" if row.shown else "no",
                "" if row.samples_seen is None else row.samples_seen,
                row.missing,
            ]
        )
    return buffer.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def write_study(result: StudyResult, folder: Path) -> Path:
    """Writes a study's page, its Markdown and its CSV into ``folder``; returns the page."""
    page = template(PAGE).render(study=study_view(result))
    for name, text in ((PAGE, page), (MARKDOWN, study_markdown(result)), (TABLE, study_csv(result))):
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return folder / PAGE
