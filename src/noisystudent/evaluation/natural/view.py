"""Display of the scores on naturally shifted sets: a table and notes on the page, lines in the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from noisystudent.display import wording
from noisystudent.evaluation.results import ComparisonResult, RobustnessResult
from noisystudent.evaluation.view import ExtraTable, MeasureView, Table, displayed_names

_ERROR = "_standard_error"  # the end of the name of a score's standard error


def _lines(result: RobustnessResult) -> Iterator[str]:
    if result.natural is None:
        return
    yield ""
    yield "naturally shifted sets:"
    for name, measured in result.natural.items():
        yield f"  {name}: {measured.count} images, {measured.classes}"
        for score, value in measured.scores.items():
            if value is not None and not score.endswith(_ERROR):
                error = measured.scores.get(score + _ERROR)
                yield f"    {score:<30} {value:7.4f}" + ("" if error is None else f" +- {error:.4f}")
        for note in measured.notes:
            yield f"    note: {note}"


def _table(comparison: ComparisonResult) -> ExtraTable | None:
    """The scores in percent: a row per set and score, a column per model."""
    by_model = [result.natural or {} for result in comparison.measured.values()]
    scores = {
        (name, score): [sets[name].scores.get(score) if name in sets else None for sets in by_model]
        for sets in by_model
        for name, measured in sets.items()
        for score, value in measured.scores.items()
        if value is not None
    }
    if not scores:
        return None
    rows = ((name, score, *map(wording.percent, values)) for (name, score), values in scores.items())
    classes = dict.fromkeys(f"{name}: {sets[name].classes}." for sets in by_model for name in sets)
    return ExtraTable(
        caption="Each score says in its name among how many classes it chose.",
        table=Table(("Set", "Score", *displayed_names(comparison).values()), tuple(rows)),
        notes=tuple(classes),
    )


VIEW = MeasureView(title="Naturally shifted sets", lines=_lines, table=_table)
