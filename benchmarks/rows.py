"""The rows that the benchmarks print and write: one number, what it is compared with, and where it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from noisystudent.runtime.env import describe_machine, versions


def plain_row(name: str, value: float, unit: str) -> dict[str, Any]:
    """A number that is compared with nothing."""
    return {
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "versus": None,
        "ratio": None,
        "seeds": 1,
        "interval": None,
        "machine": describe_machine(),
        "versions": versions(),
    }


def ratio_row(name: str, value: float, unit: str, *, versus: str, ratios: Sequence[float]) -> dict[str, Any]:
    """A number beside a rival's: the median of the rounds' ``ratios``, and their range."""
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "versus": versus,
        "ratio": round(float(np.median(ratios)), 3),
        "seeds": len(ratios),
        "interval": [round(min(ratios), 3), round(max(ratios), 3)],
        "machine": describe_machine(),
        "versions": versions(),
    }


def print_rates(rows: Sequence[dict[str, Any]], width: int) -> None:
    """Prints rows of images a second beside a rival's, names in ``width`` letters."""
    for each in rows:
        low, high = each["interval"]
        print(
            f"{each['name']:<{width}}{each['value']:>8,} images a second, {each['ratio']:.2f} times {each['versus']} "
            f"({low:.2f} to {high:.2f})"
        )
