"""The page of a comparison of models: one table, and the charts of every measure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from noisystudent.artifacts.folder import atomic_write
from noisystudent.display.wording import joined, points
from noisystudent.evaluation.results import ComparisonResult, Difference
from noisystudent.evaluation.view import displayed_names
from noisystudent.reporting.robustness import robustness_view
from noisystudent.reporting.templates import template


def write_comparison(comparison: ComparisonResult, out: Path) -> Path:
    """Writes the page of a comparison as one HTML file that needs no other file.

    Args:
        comparison: the results of all models; every text in them is escaped.
        out: the file to write.

    Returns:
        ``out``.
    """
    page = template("comparison.html").render(
        robustness=robustness_view(comparison), headline=comparison_headline(comparison)
    )
    with atomic_write(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out


def comparison_headline(comparison: ComparisonResult) -> str:
    """Who is better at what, as far as the 95% intervals of the differences from the first model tell."""
    names = _names(comparison)
    others = [name for name in comparison.measured if name in comparison.differences]
    if not others:
        return f"Robustness of {joined(list(names.values()))}"
    differences: dict[str, Mapping[str, Difference]] = {
        "on clean images": {names[name]: comparison.differences[name].clean for name in others},
        "under corruptions": {
            names[name]: found for name in others if (found := comparison.differences[name].corruptions) is not None
        },
    }
    first = names[comparison.first]
    told = {measure: _told(first, found) for measure, found in differences.items() if found}
    if len(told) > 1 and len(set(told.values())) == 1:
        (finding, *_) = told.values()
        text = f"{' and '.join(told)}, {finding}"
    else:
        text = "; ".join(f"{measure}, {finding}" for measure, finding in told.items())
    return text[:1].upper() + text[1:]


def _names(comparison: ComparisonResult) -> dict[str, str]:
    """The names of the models without the numbers before their paths, unless these alone tell them apart."""
    numbered = displayed_names(comparison)
    plain = {name: re.sub(r"^\d+ ", "", shown) for name, shown in numbered.items()}
    return plain if len(set(plain.values())) == len(plain) else numbered


def _told(first: str, differences: Mapping[str, Difference]) -> str:
    """Who is better on one measure."""
    better = {name: found for name, found in differences.items() if found.interval[0] > 0}
    if better:
        best = max(better, key=lambda name: better[name].difference)
        return f"{best} is better than {first} by {points(better[best].difference).lstrip('+')} points"
    if all(found.interval[1] < 0 for found in differences.values()):
        nearest = max(found.difference for found in differences.values())
        others = next(iter(differences)) if len(differences) == 1 else "all others"
        return f"{first} is better than {others} by {points(-nearest).lstrip('+')} points"
    return f"no model is clearly better than {first}"
