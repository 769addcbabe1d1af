"""The page of a comparison: one table, and a chart for each measure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from noisystudent.artifacts import replacing
from noisystudent.reporting import charts, wording


def write_comparison(told: Mapping[str, Any], out: Path) -> Path:
    """Writes the page of what ``comparison.json`` holds, self-contained, everything from outside escaped."""
    environment = Environment(
        loader=PackageLoader("noisystudent", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("comparison.html").render(
        columns=COLUMNS, rows=comparison_rows(told), charts=_charts(told["measured"]), source=_source(told)
    )
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out


COLUMNS = ("", "Clean", "Difference", "Corrupted", "Difference", "Flips", "FGSM", "PGD")


def comparison_rows(told: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The table's texts: accuracies in percent, differences to the first in points with their 95% intervals.

    ``Flips`` is the mean flip probability; the attacks are those of the largest epsilon.
    """
    return [_row(name, measured, told["differences"].get(name)) for name, measured in told["measured"].items()]


def _row(name: str, measured: Mapping[str, Any], differences: Mapping[str, Any] | None) -> tuple[str, ...]:
    corruptions, steadiness, attacks = (
        measured.get(each) or {} for each in ("corruptions", "perturbations", "attacks")
    )
    error = corruptions.get("mean_of_present")
    strongest = attacks["curve"][-1] if attacks else {}
    return (
        name,
        wording.percent(measured["clean"]["top1"]),
        _points(differences["clean"]) if differences else "",
        wording.percent(None if error is None else 1 - error),
        _points(differences["corruptions"]) if differences else "",
        wording.percent(steadiness.get("mean_flip_probability")),
        wording.percent(strongest.get("fgsm")),
        wording.percent(strongest.get("pgd")),
    )


def _points(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return wording.MISSING
    low, high = (wording.points(end) for end in found["interval"])
    return f"{wording.points(found['difference'])} ({low} to {high})"


def _source(told: Mapping[str, Any]) -> str:
    measured = told["measured"][told["first"]]
    some = f", of {measured['classes']}" if "classes" in measured else ""
    return f"{wording.plural(measured['count'], 'picture')} of {measured['source']}{some}"


def _charts(measured: Mapping[str, Mapping[str, Any]]) -> list[Markup]:
    """Error by severity and by corruption, accuracy against epsilon: as far as all were measured."""
    found = []
    if all(each.get("corruptions") for each in measured.values()):
        found += _corruption_charts({name: each["corruptions"]["errors"] for name, each in measured.items()})
    if all(each.get("attacks") for each in measured.values()):
        curves = {name: each["attacks"]["curve"] for name, each in measured.items()}
        epsilons = [f"{row['epsilon']:g}" for row in next(iter(curves.values()))]
        for attack in ("fgsm", "pgd"):
            series = [
                charts.Series(name, tuple((float(place), 100 * row[attack]) for place, row in enumerate(curve)))
                for name, curve in curves.items()
            ]
            found.append(
                charts.line_chart(
                    series,
                    title=f"Accuracy under {attack.upper()}",
                    x_label="epsilon (steps of 255)",
                    y_label="top-1 accuracy (%)",
                    x_names=epsilons,
                )
            )
    return found


def _corruption_charts(errors: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[Markup]:
    first = next(iter(errors.values()))
    severities = [each for each in next(iter(first.values())) if all(each in by for by in first.values())]
    by_severity = [
        charts.Series(
            name,
            tuple(
                (float(place), 100 * _mean([by[severity] for by in each.values()]))
                for place, severity in enumerate(severities)
            ),
        )
        for name, each in errors.items()
    ]
    by_corruption = [
        charts.Series(
            name, tuple((float(place), 100 * _mean(list(by.values()))) for place, by in enumerate(each.values()))
        )
        for name, each in errors.items()
    ]
    return [
        charts.line_chart(
            by_severity,
            title="Error under corruptions, by severity",
            x_label="severity",
            y_label="top-1 error (%)",
            x_names=severities,
        ),
        charts.line_chart(
            by_corruption,
            title="Error by corruption, mean over severities",
            x_label="corruption, in the table's order",
            y_label="top-1 error (%)",
            x_names=[str(place) for place in range(1, len(first) + 1)],
        ),
    ]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
