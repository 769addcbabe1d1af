#!/usr/bin/env python3
"""Writes docs/gain.svg: labels-only training and the student, from the tables of docs/results.md.

python scripts/gain_chart.py
"""

from __future__ import annotations

import re
from pathlib import Path

from noisystudent.display.charts import CONTROL, STUDENT, Series, dot_chart
from noisystudent.reporting.standalone import standalone

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "gain.svg"

# Name on the chart, heading of the section, column of the table.
SMALL_NETWORKS = (
    ("digits, 4 labels per class", "scikit-learn's digits, 4 labels per class"),
    ("hand signs, 10", "Hand signs, 64 px photographs, 10 labels per class"),
    ("Fashion-MNIST, 20", "Fashion-MNIST, 20 labels per class"),
    ("Fashion-MNIST, 100", "Fashion-MNIST, 100 labels per class"),
)
ON_BACKBONE = "A frozen backbone in 15 minutes, against simple rivals"
COLUMNS = (
    ("waste, 10, backbone", "trashnet, 10"),
    ("waste, 25, backbone", "trashnet, 25"),
    ("hand signs, 10, backbone", "hand signs, 10"),
    ("Fashion, 20, backbone", "Fashion-MNIST, 20"),
    ("CIFAR-10, 10, backbone", "CIFAR-10 (JPEG q75), 10"),
    ("CIFAR-10, 100, backbone", "CIFAR-10, 100"),
)


def table_below(text: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, its head first, without emphasis."""
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table
    rows = [line.strip("|").replace("**", "").split("|") for line in table[0].splitlines()]
    return [[cell.strip() for cell in row] for row in rows if set(row[0].strip()) != {"-"}]


def gains(results: str) -> list[tuple[str, float, float]]:
    """Name, accuracy of labels-only training and of the student, in percent, for each row of the chart."""
    rows = []
    for name, heading in SMALL_NETWORKS:
        cells = {row[0]: row[1] for row in table_below(results, heading)}
        student = next(value for key, value in cells.items() if key.startswith("student"))
        rows.append((name, float(cells["control (labels only)"]), float(student)))
    head, *body = table_below(results, ON_BACKBONE)
    cells_of = {row[0]: row for row in body}
    for name, column in COLUMNS:
        at = head.index(column)
        control, student = (cells_of[key][at] for key in ("labels only (the teacher)", "delivered"))
        rows.append((name, float(control.split()[0]), float(student.split()[0])))
    return rows


def chart() -> str:
    """The text of docs/gain.svg."""
    rows = gains((ROOT / "docs" / "results.md").read_text(encoding="utf-8"))
    series = (
        Series("labels only", tuple((row, control) for row, (_, control, _) in enumerate(rows)), color=CONTROL),
        Series(
            "with unlabeled images", tuple((row, student) for row, (_, _, student) in enumerate(rows)), color=STUDENT
        ),
    )
    names = [name for name, *_ in rows]
    return standalone(dot_chart(names, series, title="Accuracy on test images", x_label="test accuracy in percent"))


if __name__ == "__main__":
    FILE.write_text(chart(), encoding="utf-8")
