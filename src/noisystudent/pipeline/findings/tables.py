"""The findings as CSV files in the run's folder, for spreadsheets and for tools that label images."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from noisystudent.artifacts.folder import atomic_write
from noisystudent.results.findings import Findings

LABEL_ISSUES, OUT_OF_CLASS = "label_issues.csv", "out_of_class.csv"
LABEL_NEXT, LABEL_FOR_TEST = "label_next.csv", "label_for_test.csv"


def write_tables(folder: Path, findings: Findings) -> None:
    """Writes the four tables, empty ones with their heads; probabilities have 4 decimals."""
    _write(
        folder / LABEL_ISSUES,
        ("file", "label", "prediction", "label_probability", "confidence"),
        ((one.key, one.label, one.prediction, one.label_probability, one.confidence) for one in findings.label_issues),
    )
    _write(
        folder / OUT_OF_CLASS,
        ("file", "prediction", "confidence", "distance"),
        ((one.key, one.prediction, one.confidence, one.distance) for one in findings.out_of_class),
    )
    _write(
        folder / LABEL_NEXT,
        ("file", "first", "first_confidence", "second", "second_confidence"),
        ((one.key, one.first, one.first_confidence, one.second, one.second_confidence) for one in findings.label_next),
    )
    _write(folder / LABEL_FOR_TEST, ("file",), ((key,) for key in findings.label_for_test))


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str | float]]) -> None:
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row] for row in rows)
