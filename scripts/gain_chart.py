#!/usr/bin/env python3
"""Writes docs/gain.svg: labels-only training and the student, from the tables of docs/results/.

python scripts/gain_chart.py
"""

from __future__ import annotations

import re
from pathlib import Path

from noisystudent.display.charts import CONTROL, STUDENT, Series, dot_chart
from noisystudent.reporting.standalone import standalone

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "gain.svg"
PAGES = ("from-scratch.md", "pretrained.md")

# Name on the chart, heading of the section, column of the table.
SMALL_NETWORKS = (
    ("digits, 4 labels per class", "scikit-learn's digits, 4 labels per class"),
    ("hand signs, 10", "Hand signs, 64 px photographs, 10 labels per class"),
    ("Fashion-MNIST, 20", "Fashion-MNIST, 20 labels per class"),
    ("Fashion-MNIST, 100", "Fashion-MNIST, 100 labels per class"),
)
ON_BACKBONE = "Fifteen minutes on a CPU, by default, against simple rivals"
COLUMNS = (
    ("waste, 10, backbone", "waste, 10"),
    ("waste, 25, backbone", "waste, 25"),
    ("hand signs, 10, backbone", "hand signs, 10"),
    ("Fashion, 20, backbone", "Fashion-MNIST, 20"),
    ("CIFAR-10, 10, backbone", "CIFAR-10 (JPEG q75), 10"),
    ("CIFAR-10, 100, backbone", "CIFAR-10, 100"),
)
CONTROL_ROW, TEACHER_ROW = "control (labels only, as long as teacher and student)", "labels only (the teacher)"


def table_below(text: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, its head first, without emphasis."""
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table
    rows = [line.strip("|").replace("**", "").split("|") for line in table[0].splitlines()]
    return [[cell.strip() for cell in row] for row in rows if set(row[0].strip()) != {"-"}]


def gains(from_scratch: str, pretrained: str) -> list[tuple[str, float, float]]:
    """Name, accuracy of labels-only training and of the student, in percent, for each row of the chart.

    Args:
        from_scratch: The text of the page of runs from scratch.
        pretrained: That of runs from pretrained weights, whose labels-only model is the control where there is one.
    """
    rows = []
    for name, heading in SMALL_NETWORKS:
        cells = {row[0]: row[1] for row in table_below(from_scratch, heading)}
        student = next(value for key, value in cells.items() if key.startswith("student"))
        rows.append((name, float(cells["control (labels only)"]), float(student)))
    head, *body = table_below(pretrained, ON_BACKBONE)
    cells_of = {row[0]: row for row in body}
    for name, column in COLUMNS:
        at = head.index(column)
        control, student = cells_of[CONTROL_ROW][at] or cells_of[TEACHER_ROW][at], cells_of["delivered"][at]
        rows.append((name, float(control.split()[0]), float(student.split()[0])))
    return rows


def chart() -> str:
    """The text of docs/gain.svg."""
    rows = gains(*((ROOT / "docs" / "results" / page).read_text(encoding="utf-8") for page in PAGES))
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
