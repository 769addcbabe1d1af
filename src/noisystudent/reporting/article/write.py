"""Writes a table and its figures: JSON, and from it Markdown, CSV, LaTeX and SVG."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from noisystudent.artifacts.folder import atomic_write
from noisystudent.artifacts.typed_json import write_result
from noisystudent.display import charts
from noisystudent.display.wording import MISSING, aligned, compact, number, percent, points, printable, whole
from noisystudent.reporting.standalone import standalone
from noisystudent.results.article import ArticleCell, ArticleColumn, ArticleFigure, ArticleRow, ArticleTable, TableKind

JSON = "table.json"
_GRAY, _COLORS = 5, (1, 2, 3, 4, 6, 7, 8)  # numbers of the palette
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
_SHOWN: dict[TableKind, dict[str, Callable[[ArticleRow], str]]] = {
    "methods": {
        "method": lambda row: row.method,
        "model": lambda row: row.model,
        "parameters": lambda row: compact(row.parameters),
        "extra data": lambda row: row.extra_data,
        "train -> test px": lambda row: _sizes(row),
        "samples seen": lambda row: compact(row.samples_seen),
        "seeds": lambda row: str(len(row.seeds)) if row.seeds else MISSING,
    },
    "distillation": {
        "student": lambda row: row.method,
        "teacher": lambda row: row.model,
        "seeds": lambda row: str(len(row.seeds)) if row.seeds else MISSING,
    },
    "robustness": {
        "method": lambda row: row.method,
        "model": lambda row: row.model,
        "extra data": lambda row: row.extra_data,
        "test px": lambda row: whole(row.test_size),
    },
    "attack": {
        "method": lambda row: row.method,
        "model": lambda row: row.model,
        "test px": lambda row: whole(row.test_size),
    },
}
_CSV_ROW = (
    "method",
    "model",
    "parameters",
    "extra_data",
    "train_size",
    "test_size",
    "samples_seen",
    "images",
    "source",
)


def write_table(table: ArticleTable, folder: Path) -> Path:
    """Writes ``table.json``, ``table.md``, ``table.csv``, ``table.tex`` and one SVG file per figure into ``folder``."""
    write_result(folder / JSON, table)
    texts = {"table.md": markdown(table), "table.csv": as_csv(table), "table.tex": latex(table)}
    texts |= {f"{figure.name}.svg": svg(figure) for figure in table.figures}
    for name, text in texts.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return folder / JSON


def headings(table: ArticleTable) -> list[str]:
    """The headings of a table's columns."""
    return [*_SHOWN[table.kind], *(column.name for column in table.columns)]


def texts_of(row: ArticleRow, table: ArticleTable) -> list[str]:
    """The texts of a row: those of its columns of words, and its numbers."""
    words = [text(row) or MISSING for text in _SHOWN[table.kind].values()]
    return words + [cell_text(row.cells.get(column.name), column) for column in table.columns]


def cell_text(cell: ArticleCell | None, column: ArticleColumn) -> str:
    """A number with its interval in brackets, and its difference to labels-only training after it."""
    if cell is None:
        return MISSING
    if not column.is_fraction:
        return number(cell.value, 1)
    text = percent(cell.value)
    if cell.interval:
        low, high = (f"{100 * bound:.1f}" for bound in cell.interval)
        text += f" [{low}, {high}]"
    if cell.difference is not None:
        text += f" ({points(cell.difference)}"
        if cell.difference_interval:
            text += f" [{points(cell.difference_interval[0])}, {points(cell.difference_interval[1])}]"
        text += ")"
    return text


def _sizes(row: ArticleRow) -> str:
    if row.train_size is None and row.test_size is None:
        return MISSING
    return f"{whole(row.train_size)} -> {whole(row.test_size)}"


def _apart(table: ArticleTable) -> tuple[list[ArticleRow], list[ArticleRow]]:
    """The rows that were measured here, and the published ones."""
    own = [row for row in table.rows if not row.published]
    return own, [row for row in table.rows if row.published]


def markdown(table: ArticleTable) -> str:
    """A table as Markdown; published rows are in italics, after the others."""
    own, published = _apart(table)
    lines = [headings(table), ["---"] * len(headings(table)), *(texts_of(row, table) for row in own)]
    written = [f"| {' | '.join(_in_markdown(text) for text in line)} |" for line in lines]
    for row in published:
        texts = (f"*{_in_markdown(text)}*" if text != MISSING else text for text in texts_of(row, table))
        written.append(f"| {' | '.join(texts)} |")
    notes = [f"- {_in_markdown(note)}" for note in (*table.notes, *_sources(published))]
    return "\n".join([f"## {_in_markdown(table.title)}", "", *written, "", *notes]) + "\n"


def plain(table: ArticleTable, width: int | None = None) -> str:
    """A table as plain text, within the ``width`` columns of a terminal."""
    own, published = _apart(table)
    lines = aligned([headings(table), *(texts_of(row, table) for row in (*own, *published))], width)
    return "\n".join(printable(line) for line in (*lines, *table.notes, *_sources(published)))


def _sources(published: Sequence[ArticleRow]) -> list[str]:
    """Where published rows are from, as notes."""
    return [
        f"Published, set apart and in no mean: {source}" for source in dict.fromkeys(row.source for row in published)
    ]


def _in_markdown(text: str) -> str:
    for letter in "\\|*_<":
        text = text.replace(letter, f"\\{letter}" if letter != "<" else "&lt;")
    return " ".join(text.split())


def as_csv(table: ArticleTable) -> str:
    """A table as CSV with exact numbers: a line per row and column; fractions from 0 to 1."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    of_cell = ("column", "value", "by_seed", "low", "high", "difference", "difference_low", "difference_high")
    writer.writerow([*_CSV_ROW, "published", "seeds", *of_cell])
    for row in table.rows:
        words = ["" if (value := getattr(row, name)) is None else value for name in _CSV_ROW]
        for name, cell in row.cells.items():
            numbers = (*(cell.interval or ("", "")), cell.difference, *(cell.difference_interval or ("", "")))
            writer.writerow(
                [
                    *words,
                    "yes" if row.published else "no",
                    " ".join(map(str, row.seeds)),
                    name,
                    repr(cell.value),
                    " ".join(map(repr, cell.by_seed)),
                    *("" if value is None else value for value in numbers),
                ]
            )
    return buffer.getvalue()


def latex(table: ArticleTable) -> str:
    """A table as LaTeX with the rules of the package booktabs; published rows are gray, below a rule."""
    own, published = _apart(table)
    lines = [
        r"% needs \usepackage{booktabs,xcolor}",
        rf"\begin{{tabular}}{{{'l' * len(headings(table))}}}",
        r"\toprule",
    ]
    lines += [_latex_line(headings(table)), r"\midrule", *(_latex_line(texts_of(row, table)) for row in own)]
    if published:
        lines.append(r"\midrule")
        lines += [_latex_line(texts_of(row, table), color="gray") for row in published]
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [f"% {' '.join(note.split())}" for note in (*table.notes, *_sources(published))]
    return "\n".join(lines) + "\n"


def _latex_line(texts: Sequence[str], color: str = "") -> str:
    cells = ["".join(_LATEX.get(letter, letter) for letter in " ".join(text.split())) for text in texts]
    if color:
        cells = [rf"\textcolor{{{color}}}{{{cell}}}" for cell in cells]
    return " & ".join(cells).replace("->", r"$\rightarrow$") + r" \\"


def svg(figure: ArticleFigure) -> str:
    """A figure as an SVG file, with the 95% intervals as vertical lines."""
    series = [
        charts.Series(
            line.name,
            tuple((point.x, point.y) for point in line.points),
            color=_GRAY if line.published else _COLORS[number % len(_COLORS)],
            intervals=tuple((point.x, *point.interval) for point in line.points if point.interval),
        )
        for number, line in enumerate(figure.series)
    ]
    covered = [bound for line in series for _, low, high in line.intervals for bound in (low, high)]
    return standalone(
        charts.curve_chart(series, title=figure.title, x_label=figure.x_label, y_label=figure.y_label, covered=covered)
    )
