"""The end of a run in the terminal: the table, then the verdict."""

from __future__ import annotations

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from noisystudent.reporting.read import parse_summary
from noisystudent.reporting.records import Summary
from noisystudent.reporting.table import COLUMNS, summary_rows, table_caption, verdict_sentence

_ROW_STYLES = {"rolled back": "dim", "delivered": "bold", "baseline": "dim"}
_VERDICT_STYLES = {"keep": "bold green", "roll back": "bold red", "cannot tell": "bold yellow"}


def render_summary(summary: Mapping[str, object] | Summary) -> Group:
    """The table and the verdict of a ``summary.json`` as one thing that a rich console prints."""
    summary = parse_summary(summary)
    table = Table(box=SIMPLE_HEAD, title=_clean(table_caption(summary)), title_justify="left", title_style="")
    for position, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if position else "left", no_wrap=position > 0)
    for row in summary_rows(summary):
        table.add_row(*(Text(_clean(cell)) for cell in row.cells()), style=_ROW_STYLES.get(row.kind, ""))
    verdict = summary.verdict
    return Group(table, Text(_clean(verdict_sentence(verdict)), style=_VERDICT_STYLES[verdict.decision]))


def plain_summary(summary: Mapping[str, object] | Summary) -> str:
    """The same as aligned plain text, for logs and pipes: no color, no lines, never wrapped."""
    summary = parse_summary(summary)
    lines = [COLUMNS, *(tuple(_clean(cell) for cell in row.cells()) for row in summary_rows(summary))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = (
        "  ".join(
            cell.rjust(width) if position else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
    return "\n".join([table_caption(summary), *aligned, _clean(verdict_sentence(summary.verdict))])


def print_summary(summary: Mapping[str, object] | Summary, console: Console | None = None) -> None:
    """Prints the table and the verdict: formatted on a terminal, plain text elsewhere."""
    console = console or Console()
    if console.is_terminal:
        console.print(render_summary(summary))
    else:
        console.file.write(plain_summary(summary) + "\n")


def _clean(text: str) -> str:
    # Names come from files: an escape sequence in one must not reach the terminal.
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
