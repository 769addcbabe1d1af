"""The rows that the benchmarks print and write: a number, its comparison, and the machine that measured it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np

from noisystudent.runtime.env import describe_machine, versions

OF_THIS_MACHINE = ("--json", "--work", "--semilearn-python")  # options that name a path and decide no number


def command_of(benchmark: str, words: Sequence[str]) -> str:
    """The command that repeats the rows of a benchmark, without the options that name paths of this machine."""
    kept: list[str] = []
    is_path = False
    for word in words:
        name = word.partition("=")[0]
        if not is_path and name not in OF_THIS_MACHINE:
            kept.append(word)
        is_path = not is_path and word in OF_THIS_MACHINE
    return shlex.join(["python", f"benchmarks/{benchmark}", *kept])


def plain_row(name: str, value: float, unit: str) -> dict[str, Any]:
    """A row with a number and no comparison."""
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
    """A row with a number and its ratio to a rival's: the median of the rounds' ``ratios``, and their range."""
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
    """Prints rows of images per second and their ratio to a rival's, with names padded to ``width`` letters."""
    for row in rows:
        low, high = row["interval"]
        print(
            f"{row['name']:<{width}}{row['value']:>8,} images per second, {row['ratio']:.2f} times {row['versus']} "
            f"({low:.2f} to {high:.2f})"
        )
