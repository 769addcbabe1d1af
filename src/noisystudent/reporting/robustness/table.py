"""The table of a comparison of robustness: a row for each classifier, a column for each measure that was taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from noisystudent.display import wording
from noisystudent.reporting.robustness.records import Difference, Measured, Robustness


@dataclass(frozen=True, slots=True)
class Table:
    """Texts under the names of their columns, the first of which holds the names of the rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class _Column:
    """One measure of every classifier; ``detail``: left out where there is little room."""

    name: str
    cells: tuple[str, ...]
    detail: bool = False


def robustness_table(told: Robustness, *, compact: bool = False) -> Table:
    """Accuracies in percent, differences to the first in points with their 95% intervals, errors of calibration.

    A column is there when it was measured of any classifier. Attacks are those of the largest epsilon, which stands in
    the column's name in steps of 255. ``compact`` leaves out calibration and what was counted relative to a baseline.
    """
    columns = [each for each in _columns(told) if not (compact and each.detail)]
    names = shown_names(told).values()
    rows = zip(names, *(each.cells for each in columns), strict=True)
    return Table(("", *(each.name for each in columns)), tuple(rows))


def natural_table(told: Robustness) -> Table | None:
    """Scores on naturally shifted sets in percent: a row for each set and score, a column for each classifier."""
    sets = [one.natural or {} for one in told.measured.values()]
    found = dict.fromkeys(
        (name, score)
        for natural in sets
        for name, scores in natural.items()
        for score, value in scores.items()
        if isinstance(value, float)
    )
    if not found:
        return None
    rows = (
        (name, score, *(_percent_of(natural.get(name, {}).get(score)) for natural in sets)) for name, score in found
    )
    return Table(("Set", "Score", *shown_names(told).values()), tuple(rows))


def shown_names(told: Robustness) -> dict[str, str]:
    """What each classifier is called on the page: without the folder that all lie in, and with a capital letter."""
    left_out = len(common_folder(told))
    shown = {}
    for name in told.measured:
        number, space, path = name.partition(" ")
        text = number + space + path[left_out:]
        shown[name] = text[:1].upper() + text[1:]
    return shown


def common_folder(told: Robustness) -> str:
    """The folder, with its slash, that all paths lie in which follow the classifiers' numbers; often empty."""
    folders = [name.partition(" ")[2].split("/")[:-1] for name in told.measured]
    alike = takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
    common = "".join(f"{parts[0]}/" for parts in alike)
    return "" if common == "/" else common  # the root says nothing, and what follows would look relative


def severities(told: Robustness) -> list[int]:
    """The severities at which anything was measured, from the weakest."""
    found: set[int] = set()
    for one in told.measured.values():
        if one.corruptions:
            found.update(severity for by in one.corruptions.errors.values() for severity in by)
        if one.calibration:
            found.update(one.calibration.corrupted)
    return sorted(found)


def calibration_error(one: Measured, severity: int) -> float | None:
    """The expected calibration error at a severity, 0 for clean images; None where it was not measured."""
    if severity == 0:
        return one.calibration.plain.ece if one.calibration else None
    if one.calibration and severity in one.calibration.corrupted:
        return one.calibration.corrupted[severity].plain.ece
    return None


def attacked_accuracy(one: Measured, attack: str, epsilon: float) -> float | None:
    """The accuracy under ``"fgsm"``, ``"pgd"`` or ``"autoattack"`` at an epsilon; None where it was not measured."""
    curve = one.attacks.curve if one.attacks else ()
    found: float | None = next((getattr(point, attack) for point in curve if point.epsilon == epsilon), None)
    return found


def _columns(told: Robustness) -> Iterator[_Column]:
    everyone = list(told.measured.values())
    differences = [told.differences.get(name) for name in told.measured]
    yield _Column("Clean", tuple(wording.percent(one.clean.top1) for one in everyone))
    yield from _differences(told, [each.clean if each else None for each in differences])
    accuracies = [
        None if one.corruptions is None or one.corruptions.mean_of_present is None
        else 1 - one.corruptions.mean_of_present
        for one in everyone
    ]  # fmt: skip
    corrupted = [each.corruptions if each else None for each in differences]
    if any(each is not None for each in (*accuracies, *corrupted)):
        yield _Column("Corrupted", tuple(map(wording.percent, accuracies)))
        yield from _differences(told, corrupted)
    yield from _relative_to_alexnet(everyone)
    yield from _calibration(told, everyone)
    yield from _flips(everyone)
    yield from _attacks(everyone)


def _relative_to_alexnet(everyone: Sequence[Measured]) -> Iterator[_Column]:
    found = [one.corruptions.alexnet if one.corruptions else None for one in everyone]
    yield from _column("mCE", [each.mean_corruption_error if each else None for each in found], _tenths)
    relative = [each.relative_mean_corruption_error if each else None for each in found]
    yield from _column("Relative mCE", relative, _tenths, detail=True)


def _calibration(told: Robustness, everyone: Sequence[Measured]) -> Iterator[_Column]:
    yield from _column("ECE", [calibration_error(one, 0) for one in everyone], wording.percent, detail=True)
    for severity in severities(told)[-1:]:
        errors = [calibration_error(one, severity) for one in everyone]
        yield from _column(f"ECE, severity {severity}", errors, wording.percent, detail=True)


def _flips(everyone: Sequence[Measured]) -> Iterator[_Column]:
    found = [one.perturbations for one in everyone]
    yield from _column("Flips", [each.mean_flip_probability if each else None for each in found], wording.percent)
    relative = [each.relative if each else None for each in found]
    yield from _column("mFR", [each.mean_flip_rate if each else None for each in relative], _tenths, detail=True)
    yield from _column("mT5D", [each.mean_top5_distance if each else None for each in relative], _tenths, detail=True)


def _attacks(everyone: Sequence[Measured]) -> Iterator[_Column]:
    points = [point for one in everyone if one.attacks for point in one.attacks.curve]
    for attack, name in (("fgsm", "FGSM"), ("pgd", "PGD"), ("autoattack", "AutoAttack")):
        epsilons = [point.epsilon for point in points if getattr(point, attack) is not None]
        if epsilons:
            strongest = max(epsilons)
            found = [attacked_accuracy(one, attack, strongest) for one in everyone]
            yield from _column(f"{name} {strongest:g}/255", found, wording.percent)


def _column(
    name: str, values: Sequence[float | None], write: Callable[[float | None], str], *, detail: bool = False
) -> Iterator[_Column]:
    """The column, if it has a value."""
    if any(value is not None for value in values):
        yield _Column(name, tuple(map(write, values)), detail)


def _differences(told: Robustness, found: Sequence[Difference | None]) -> Iterator[_Column]:
    if told.differences:
        cells = ("" if name == told.first else _interval(each) for name, each in zip(told.measured, found, strict=True))
        yield _Column("Difference", tuple(cells))


def _interval(found: Difference | None) -> str:
    if found is None:
        return wording.MISSING
    low, high = (wording.points(end) for end in found.interval)
    return f"{wording.points(found.difference)} ({low} to {high})"


def _tenths(value: float | None) -> str:
    return wording.number(value, 1)


def _percent_of(value: object) -> str:
    return wording.percent(value) if isinstance(value, float) else wording.MISSING
