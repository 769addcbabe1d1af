"""Small pieces of HTML for notebooks; everything in them is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence

from noisystudent.runtime.terminal import escaped


def in_html(text: str) -> str:
    """One line of text that HTML shows as it is; control and direction characters are written out."""
    return html.escape(escaped(text, keep=""))


def table_html(rows: Sequence[Sequence[str]], columns: Sequence[str] = ()) -> str:
    """A table of texts, with a row of column names or without."""
    head = f"<thead><tr>{_cells(columns, 'th')}</tr></thead>" if columns else ""
    body = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"


def _cells(texts: Sequence[str], tag: str) -> str:
    return "".join(f'<{tag} style="text-align: left">{in_html(text)}</{tag}>' for text in texts)
