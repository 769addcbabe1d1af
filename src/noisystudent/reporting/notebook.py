"""A run as a notebook shows it: its verdict, its table, where its page is."""

from __future__ import annotations

from pathlib import Path

from noisystudent.reporting.table import (
    comparison_sentence,
    summary_rows,
    table_caption,
    table_columns,
    verdict_sentence,
)
from noisystudent.results.run import RunSummary
from noisystudent.runtime.html import in_html, table_html


def run_html(summary: RunSummary, folder: Path) -> str:
    """The HTML of a finished run in ``folder``; names of classes and folders are escaped."""
    columns = table_columns(summary)
    sentences = (table_caption(summary), comparison_sentence(summary), f"Page: {folder / 'report.html'}")
    return "".join(
        [
            f"<p><b>{in_html(verdict_sentence(summary.verdict))}</b></p>",
            table_html([row.cells(columns) for row in summary_rows(summary)], columns),
            *(f"<p>{in_html(sentence)}</p>" for sentence in sentences if sentence),
        ]
    )
