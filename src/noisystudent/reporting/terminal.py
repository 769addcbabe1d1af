"""The end of a run in the terminal: the table, robustness where it was measured, then the verdict."""

from __future__ import annotations

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from noisystudent.display.wording import aligned, printable
from noisystudent.reporting.read import parse_robustness, parse_summary
from noisystudent.reporting.records import Summary
from noisystudent.reporting.robustness.notes import measured_sentence
from noisystudent.reporting.robustness.records import Robustness
from noisystudent.reporting.robustness.table import robustness_table
from noisystudent.reporting.table import COLUMNS, summary_rows, table_caption, verdict_sentence

_ROW_STYLES = {"rolled back": "dim", "delivered": "bold", "baseline": "dim"}
_VERDICT_STYLES = {"keep": "bold green", "roll back": "bold red", "cannot tell": "bold yellow"}


def render_summary(summary: Mapping[str, object] | Summary) -> Group:
    """The table and the verdict of a ``summary.json`` as one thing that a rich console prints."""
    summary = parse_summary(summary)
    table = Table(box=SIMPLE_HEAD, title=printable(table_caption(summary)), title_justify="left", title_style="")
    for position, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if position else "left", no_wrap=position > 0)
    for row in summary_rows(summary):
        table.add_row(*(Text(printable(cell)) for cell in row.cells()), style=_ROW_STYLES.get(row.kind, ""))
    verdict = summary.verdict
    # A line that is too long goes on in the next: a number cut off would be another number.
    sentence, *lines = plain_robustness(summary.robustness) if summary.robustness else [""]
    robustness = [Text(line, no_wrap=True, overflow="ignore") for line in lines]
    return Group(
        table,
        *([Text(sentence), *robustness, Text()] if sentence else []),
        Text(printable(verdict_sentence(verdict)), style=_VERDICT_STYLES[verdict.decision]),
    )


def plain_summary(summary: Mapping[str, object] | Summary) -> str:
    """The same as aligned plain text, for logs and pipes: no color, no lines, never wrapped."""
    summary = parse_summary(summary)
    lines = [COLUMNS, *(tuple(printable(cell) for cell in row.cells()) for row in summary_rows(summary))]
    table = [table_caption(summary), *aligned(lines)]
    robustness = plain_robustness(summary.robustness) if summary.robustness else []
    return "\n".join([*table, *robustness, printable(verdict_sentence(summary.verdict))])


def plain_robustness(told: Mapping[str, object] | Robustness) -> list[str]:
    """What was measured and the compact table of a ``comparison.json``, as plain aligned lines."""
    told = parse_robustness(told)
    table = robustness_table(told, compact=True)
    rows = [table.columns, *(tuple(map(printable, row)) for row in table.rows)]
    return [printable(measured_sentence(told)), *aligned(rows)]


def print_summary(summary: Mapping[str, object] | Summary, console: Console | None = None) -> None:
    """Prints the table and the verdict: formatted on a terminal, plain text elsewhere."""
    console = console or Console()
    if console.is_terminal:
        console.print(render_summary(summary), crop=False)
    else:
        console.file.write(plain_summary(summary) + "\n")
