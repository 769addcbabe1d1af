"""The charts of a comparison of robustness: each over the classifiers that have its measure, none where none has.

A classifier has the same color in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from noisystudent.display import charts, wording
from noisystudent.display.charts import Series
from noisystudent.display.reliability import reliability_chart
from noisystudent.reporting.robustness.records import CorruptionScores, Measured, Robustness
from noisystudent.reporting.robustness.table import attacked_accuracy, calibration_error, severities, shown_names

CHARTED = 8  # classifiers in a chart: as many as there are colors
_TITLE_LETTERS = 28  # of a classifier's name in the title of a chart

Everyone = Mapping[str, Measured]  # by the names that are shown
Points = Mapping[float, float]  # shares by place


def figures(told: Robustness) -> dict[str, list[Markup]]:
    """The charts under the names of what they are about, in reading order; a name without charts is left out."""
    everyone = charted(told)
    found = {
        "Corruptions": [*_errors_by_severity(everyone), *_errors_by_corruption(everyone)],
        "Perturbations": list(_flips_by_perturbation(everyone)),
        "Attacks": list(_accuracies_under_attack(everyone)),
        "Calibration": [*_calibration_by_severity(everyone, severities(told)), *_reliability(everyone)],
    }
    return {name: drawn for name, drawn in found.items() if drawn}


def charted(told: Robustness) -> Everyone:
    """The classifiers that charts show, by the names that are shown: all, or the first and the last seven."""
    names = shown_names(told)
    named = [(names[name], one) for name, one in told.measured.items()]
    return dict(named if len(named) <= CHARTED else [named[0], *named[1 - CHARTED :]])


def _errors_by_severity(everyone: Everyone) -> Iterator[Markup]:
    found = {name: one.corruptions for name, one in everyone.items() if one.corruptions}
    shared, met = _shared(list(found.values()))
    if shared:
        values = {
            name: {
                float(place): _mean([each.errors[one][severity] for one in shared])
                for place, severity in enumerate(met)
            }
            for name, each in found.items()
        }
        yield charts.line_chart(
            _series(everyone, values),
            title=f"Error by severity, mean over {wording.plural(len(shared), 'corruption')}",
            x_label=f"severity of {_made(everyone)} corruptions",
            y_label="top-1 error (%)",
            x_names=[str(severity) for severity in met],
        )


def _shared(found: Sequence[CorruptionScores]) -> tuple[list[str], list[int]]:
    """The corruptions that all classifiers met at every severity that any met, and these: others would tilt a mean."""
    met = sorted({severity for each in found for by in each.errors.values() for severity in by})
    names = list(found[0].errors) if met else []
    return [name for name in names if all(set(met) <= set(each.errors.get(name, ())) for each in found)], met


def _errors_by_corruption(everyone: Everyone) -> Iterator[Markup]:
    values = {
        name: {corruption: _mean(list(by.values())) for corruption, by in one.corruptions.errors.items() if by}
        for name, one in everyone.items()
        if one.corruptions
    }
    yield from _dots(
        everyone,
        values,
        title="Error by corruption, mean over severities",
        x_label=f"top-1 error, {_made(everyone)} corruptions (%)",
    )


def _flips_by_perturbation(everyone: Everyone) -> Iterator[Markup]:
    values = {
        name: {perturbation: each.flip_probability for perturbation, each in one.perturbations.perturbations.items()}
        for name, one in everyone.items()
        if one.perturbations
    }
    made = [one.perturbations.source for one in everyone.values() if one.perturbations]
    yield from _dots(
        everyone,
        values,
        title="Flips by perturbation",
        x_label=f"flip probability, {'generated' if 'generated' in made else 'published'} sequences (%)",
    )


def _dots(
    everyone: Everyone, values: Mapping[str, Mapping[str, float]], *, title: str, x_label: str
) -> Iterator[Markup]:
    """A dot chart of shares by classifier and then by row, in the order in which rows are first met."""
    rows = list(dict.fromkeys(row for each in values.values() for row in each))
    if rows:
        placed = {
            name: {float(place): each[row] for place, row in enumerate(rows) if row in each}
            for name, each in values.items()
        }
        names = [row.replace("_", " ") for row in rows]
        yield charts.dot_chart(names, _series(everyone, placed), title=title, x_label=x_label)


def _accuracies_under_attack(everyone: Everyone) -> Iterator[Markup]:
    """A curve for each attack, all on one scale, from the clean accuracy at epsilon 0 (Xie et al. 2020, figure 3)."""
    found = {
        title: _series(everyone, {name: _curve(one, attack) for name, one in everyone.items()})
        for attack, title in (("fgsm", "FGSM"), ("pgd", "PGD"), ("autoattack", "AutoAttack"))
    }
    for title, curves in found.items():
        if curves:
            yield charts.curve_chart(
                curves,
                title=f"Accuracy under {title}",
                x_label="epsilon (steps of 255)",
                y_label="top-1 accuracy (%)",
                covered=_heights(found),
            )


def _curve(one: Measured, attack: str) -> Points:
    """Accuracy by epsilon, the clean one at 0; empty without this attack."""
    if one.attacks is None:
        return {}
    accuracies = {point.epsilon: attacked_accuracy(one, attack, point.epsilon) for point in one.attacks.curve}
    points = {epsilon: accuracy for epsilon, accuracy in accuracies.items() if accuracy is not None}
    start = {0.0: one.attacks.clean} if points and one.attacks.clean is not None else {}
    return start | points


def _calibration_by_severity(everyone: Everyone, met: Sequence[int]) -> Iterator[Markup]:
    """The calibration error at each severity, first of clean images, before and after scaling, on one scale."""
    if not met:
        return
    found = {
        "Calibration error": _series(everyone, {name: _errors(one, met) for name, one in everyone.items()}),
        "Calibration error after temperature scaling": _series(
            everyone, {name: _scaled_errors(one, met) for name, one in everyone.items()}
        ),
    }
    for title, series in found.items():
        if series:
            yield charts.line_chart(
                series,
                title=title,
                x_label=f"severity of {_made(everyone)} corruptions",
                y_label="expected calibration error (%)",
                x_names=["clean", *map(str, met)],
                covered=[0.0, *_heights(found)],
            )


def _errors(one: Measured, met: Sequence[int]) -> Points:
    errors = {float(place): calibration_error(one, severity) for place, severity in enumerate((0, *met))}
    return {place: error for place, error in errors.items() if error is not None}


def _scaled_errors(one: Measured, met: Sequence[int]) -> Points:
    if one.calibration is None:
        return {}
    found = [one.calibration, *(one.calibration.corrupted.get(severity) for severity in met)]
    return {float(place): each.scaled.ece for place, each in enumerate(found) if each and each.scaled}


def _reliability(everyone: Everyone) -> Iterator[Markup]:
    """Diagrams of the first and the last classifier, on clean images and at the greatest severity."""
    calibrated = {name: one.calibration for name, one in everyone.items() if one.calibration}
    for name in dict.fromkeys([*list(calibrated)[:1], *list(calibrated)[-1:]]):
        scores, title = calibrated[name], f"Reliability of {wording.shortened(name, _TITLE_LETTERS)}"
        drawn = [reliability_chart(scores.reliability, f"{title}, clean")]
        if scores.corrupted:
            worst = max(scores.corrupted)
            drawn.append(reliability_chart(scores.corrupted[worst].reliability, f"{title}, severity {worst}"))
        yield from (chart for chart in drawn if chart is not None)


def _series(everyone: Everyone, values: Mapping[str, Points]) -> list[Series]:
    """Shares in percent, of the classifiers that have some, in the colors of their places among all."""
    return [
        Series(name, tuple((place, 100 * share) for place, share in values[name].items()), color=number)
        for number, name in enumerate(everyone, start=1)
        if values.get(name)
    ]


def _heights(found: Mapping[str, Sequence[Series]]) -> list[float]:
    return [y for series in found.values() for one in series for _, y in one.points]


def _made(everyone: Everyone) -> str:
    """How the corruptions came about: published ones only where none was generated."""
    sources = {one.corruptions.source for one in everyone.values() if one.corruptions}
    return "published" if sources == {"published"} else "generated"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
