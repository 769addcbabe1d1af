"""The results of a run in the terminal: the table, robustness if it was measured, then the verdict."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from noisystudent.display.wording import aligned, printable
from noisystudent.evaluation.results import ComparisonResult
from noisystudent.reporting.robustness import measured_sentence, robustness_table
from noisystudent.reporting.table import (
    advice_sentence,
    comparison_sentence,
    cost_sentence,
    fix_sentence,
    small_student_sentence,
    summary_rows,
    table_caption,
    table_columns,
    verdict_sentence,
)
from noisystudent.results.run import RunSummary

_NAME_WIDTH = 28  # columns that names get before other columns of the table are left out
_PADDING = 1  # columns beside each cell
_LEFT_OUT = ("Samples seen", "Parameters", "NLL", "Time", "Top-5", "ECE")  # in this order; the page has them all
_ROW_STYLES = {"worse": "dim", "delivered": "bold", "baseline": "dim"}
_VERDICT_STYLES = {"keep": "bold green", "worse": "bold red", "no clear gain": "bold yellow"}


def render_summary(summary: RunSummary, width: int) -> Group:
    """The table and the verdict of a run as one renderable for a rich console.

    Args:
        summary: The summary of the run.
        width: The columns of the terminal; where they are too few, columns of the table are left out, not cut.
    """
    table = Table(box=SIMPLE_HEAD, title=printable(table_caption(summary)), title_justify="left", title_style="")
    columns = _columns_within(summary, width)
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position else "left", no_wrap=position > 0)
    for row in summary_rows(summary):
        table.add_row(*(Text(printable(cell)) for cell in row.cells(columns)), style=_ROW_STYLES.get(row.kind, ""))
    verdict = summary.verdict
    # Long lines wrap, because a truncated number would be a wrong number.
    sentence, *lines = plain_robustness(summary.robustness, width) if summary.robustness else [""]
    robustness = [Text(line, no_wrap=True, overflow="ignore") for line in lines]
    return Group(
        table,
        *([Text(sentence), *robustness, Text()] if sentence else []),
        Text(printable(verdict_sentence(verdict)), style=_VERDICT_STYLES[verdict.decision]),
    )


def _columns_within(summary: RunSummary, width: int) -> tuple[str, ...]:
    """The columns of the table that fit, where the first one has space for names of ``_NAME_WIDTH``."""
    columns = table_columns(summary)
    cells = [columns, *(row.cells(columns) for row in summary_rows(summary))]
    widths = {name: max(map(len, cells_of)) for name, *cells_of in zip(columns, *cells, strict=True)}
    names = min(widths.pop(""), max(_NAME_WIDTH, _longest_word(row[0] for row in cells)))
    for name in _LEFT_OUT:
        if 2 * _PADDING + names + sum(2 * _PADDING + used for used in widths.values()) <= width:
            break
        widths.pop(name, None)
    return tuple(column for column in columns if not column or column in widths)


def _longest_word(texts: Iterable[str]) -> int:
    return max(len(word) for text in texts for word in [*text.split(), ""])


def plain_summary(summary: RunSummary) -> str:
    """The table and the verdict as aligned plain text for logs and pipes: no color, no rules, no wrapping."""
    columns = table_columns(summary)
    lines = [columns, *(tuple(printable(cell) for cell in row.cells(columns)) for row in summary_rows(summary))]
    table = [printable(table_caption(summary)), *aligned(lines)]
    robustness = plain_robustness(summary.robustness) if summary.robustness else []
    return "\n".join([*table, *robustness, printable(verdict_sentence(summary.verdict))])


def plain_robustness(comparison: ComparisonResult, width: int | None = None) -> list[str]:
    """A sentence about the measures, then the compact table of a comparison, as plain aligned lines.

    Args:
        comparison: The measured models.
        width: The columns of a terminal, which the lines of the table keep within; None: a log or a pipe.
    """
    table = robustness_table(comparison, compact=True)
    rows = [table.columns, *(tuple(map(printable, row)) for row in table.rows)]
    return [printable(measured_sentence(comparison)), *aligned(rows, width)]


def print_summary(summary: RunSummary, console: Console | None = None) -> None:
    """Prints the table and the verdict of a run: formatted on a terminal, as plain text elsewhere.

    Args:
        summary: the summary of the run.
        console: where to print; None prints to standard output.
    """
    console = console or Console()
    if console.is_terminal:
        console.print(render_summary(summary, console.width), crop=False)
    else:
        console.file.write(plain_summary(summary) + "\n")


def closing_lines(summary: RunSummary, folder: Path) -> list[str]:
    """The last lines of a run in ``folder``: what was compared, what it took, where its files are, what to use."""
    lines = [
        comparison_sentence(summary),
        *(f"resolution of {model.model}: {fix_sentence(summary, model)}" for model in summary.fixed),
        cost_sentence(summary.cost),
        f"model: {folder / 'best'} (its README.md shows how to open it)",
        f"page: {folder / 'report.html'}",
        advice_sentence(summary, f"{folder}/"),
        small_student_sentence(summary, f"{folder}/"),
    ]
    return [printable(line) for line in lines if line]
