"""The tables of robustness: naturally shifted, corrupted and perturbed images, and accuracy under attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import norm

from noisystudent.errors import SettingsError
from noisystudent.evaluation.corruptions.results import CorruptionResult
from noisystudent.evaluation.perturbations.results import PerturbationResult
from noisystudent.evaluation.results import ComparisonResult, RobustnessResult
from noisystudent.reporting.article.cells import mean_cell
from noisystudent.reporting.article.origins import extra_data
from noisystudent.reporting.article.runs import FinishedRun
from noisystudent.results.article import ArticleCell, ArticleColumn, ArticleRow

_Z = float(norm.ppf(0.975))
EPSILON, _CLEAN = "eps", "clean"


@dataclass(frozen=True)
class Measured:
    """One model as it was measured with each seed: the method of its row, its results, and what it was made of."""

    method: str
    model: str
    results: tuple[RobustnessResult, ...]
    size: int | None = None
    extra: str = ""
    seeds: tuple[int, ...] = ()


def measured_in_runs(groups: Sequence[Sequence[FinishedRun]]) -> list[Measured]:
    """The models of groups of runs; raises ``SettingsError`` for a run without a suite."""
    found = []
    for group in groups:
        suites = [_suite_of(run) for run in group]
        first = group[0]
        size = first.facts.format.size if first.facts.format else None
        for name in suites[0].measured:
            results = tuple(suite.measured[name] for suite in suites if name in suite.measured)
            learned = name.startswith(("round", "student", "online")) and first.images("unlabeled") > 0
            method = f"{first.folder.name}: {name}" if len(groups) > 1 else name
            seeds = tuple(run.seed for run in group)
            found.append(
                Measured(
                    method, _architecture(first, name), results, size, extra_data(first, uses_unlabeled=learned), seeds
                )
            )
    return found


def _architecture(run: FinishedRun, name: str) -> str:
    """The architecture of a measured model of a run; its name where the summary has no such model."""
    summary = run.summary
    models = [summary.teacher, *summary.teachers, summary.control, *summary.rounds, summary.student]
    return next((model.model for model in models if model and model.name == name), name)


def _suite_of(run: FinishedRun) -> ComparisonResult:
    if run.summary.robustness is None:
        raise SettingsError(
            f"{run.folder} was not measured beyond its test images: run it again with --evaluation.suite "
            "corruptions,attacks (finished stages stay), or give checkpoints with --source."
        )
    return run.summary.robustness


def measured_in_comparison(comparison: ComparisonResult) -> list[Measured]:
    """The models of a comparison."""
    return [Measured(name, result.model, (result,)) for name, result in comparison.measured.items()]


def robustness_table(measured: Sequence[Measured]) -> tuple[tuple[ArticleColumn, ...], list[ArticleRow]]:
    """The columns that at least one model has, and a row per model."""
    by_model = [[robustness_cells(result) for result in one.results] for one in measured]
    names = {name: cell[0] for seeds in by_model for cells in seeds for name, cell in cells.items()}
    rows = [
        _row(one, [{name: cell for name, (_, cell) in cells.items()} for cells in seeds])
        for one, seeds in zip(measured, by_model, strict=True)
    ]
    return tuple(ArticleColumn(name=name, is_fraction=is_fraction) for name, is_fraction in names.items()), rows


def robustness_cells(result: RobustnessResult) -> Mapping[str, tuple[bool, ArticleCell]]:
    """The numbers of a model by column: whether each is a fraction, and its cell.

    A column of images that are generated, not those of the published set, says so.
    """
    cells = {f"{_CLEAN} top-1": (True, _with_error(result.clean.top1, result.clean.top1_standard_error))}
    if result.clean.top5 is not None:
        cells[f"{_CLEAN} top-5"] = (True, ArticleCell(value=result.clean.top5))
    for name, shifted in (result.natural or {}).items():
        for score, value in shifted.scores.items():
            if value is not None and score.startswith(("top1_", "top5_")):
                top, _, way = score.partition("_")
                cells[f"{name} {top[:3]}-{top[3:]} ({way})"] = (True, ArticleCell(value=value))
    if result.corruptions:
        cells |= _corrupted(result.corruptions)
    if result.perturbations:
        cells |= _perturbed(result.perturbations)
    return cells


def suite_cells(results: Sequence[RobustnessResult]) -> dict[str, tuple[bool, ArticleCell]]:
    """The numbers beyond clean images of a model of several seeds, by column, with whether each is a fraction."""
    by_seed = [
        {name: cell for name, cell in robustness_cells(result).items() if not name.startswith(_CLEAN)}
        | {f"FGSM {name}": (True, cell) for name, cell in _fgsm_cells(result).items()}
        for result in results
    ]
    return {
        name: (is_fraction, _over_seeds([cells[name][1] for cells in by_seed if name in cells], results[0]))
        for name, (is_fraction, _) in by_seed[0].items()
    }


def _corrupted(result: CorruptionResult) -> dict[str, tuple[bool, ArticleCell]]:
    """Accuracy over all 15 corruptions, or over those conditions that were measured, and mean corruption errors."""
    errors = [error for by_severity in result.errors.values() for error in by_severity.values()]
    whole = result.mean is not None
    heading = f"C ({result.source}) top-1" if whole else f"C ({result.source}, {len(errors)} of 75 conditions) top-1"
    mean = result.mean if result.mean is not None else sum(errors) / len(errors)
    cells = {heading: (True, ArticleCell(value=1 - mean))}
    if result.alexnet:
        cells[f"C ({result.source}) mCE"] = (False, ArticleCell(value=result.alexnet.mean_corruption_error))
    relative = result.relative_to_baseline
    if relative and relative.mean_corruption_error is not None:
        name = f"C ({result.source}) mCE, {relative.baseline} = 100"
        cells[name] = (False, ArticleCell(value=relative.mean_corruption_error))
    return cells


def _perturbed(result: PerturbationResult) -> dict[str, tuple[bool, ArticleCell]]:
    """The flip probability over all ten perturbations, or over those that were measured, and mean flip rates."""
    flips = [stability.flip_probability for stability in result.perturbations.values()]
    mean, whole = result.mean_flip_probability, result.mean_flip_probability is not None
    heading = f"P ({result.source}) flips" if whole else f"P ({result.source}, {len(flips)} of 10) flips"
    cells = {heading: (True, ArticleCell(value=sum(flips) / len(flips) if mean is None else mean))}
    if result.relative and result.relative.mean_flip_rate is not None:
        name = f"P ({result.source}) mFR, {result.relative.baseline} = 100"
        cells[name] = (False, ArticleCell(value=result.relative.mean_flip_rate))
    return cells


def attack_table(measured: Sequence[Measured]) -> tuple[tuple[ArticleColumn, ...], list[ArticleRow]]:
    """Accuracy under FGSM by epsilon, in steps of 255; raises ``SettingsError`` for a model that was not attacked."""
    rows = [_row(one, [_attack_cells(one.method, result) for result in one.results]) for one in measured]
    names = dict.fromkeys(name for row in rows for name in row.cells)
    return tuple(ArticleColumn(name=name) for name in names), rows


def epsilon_of(column: str) -> float:
    """The epsilon of a column, in steps of 255."""
    return float(column.removeprefix(EPSILON))


def _attack_cells(method: str, result: RobustnessResult) -> dict[str, ArticleCell]:
    attacks = result.attacks
    if attacks is None:
        raise SettingsError(f"{method} was not attacked: give --evaluation.suite attacks, where it is measured.")
    error = (attacks.clean * (1 - attacks.clean) / attacks.count) ** 0.5
    return {f"{EPSILON} 0": _with_error(attacks.clean, error), **_fgsm_cells(result)}


def _fgsm_cells(result: RobustnessResult) -> dict[str, ArticleCell]:
    """Accuracy under FGSM by epsilon above 0; none where the model was not attacked."""
    curve = result.attacks.curve if result.attacks else ()
    return {
        f"{EPSILON} {point.epsilon:g}": _with_error(point.fgsm, point.fgsm_standard_error)
        for point in curve
        if point.epsilon
    }


def _with_error(share: float, error: float) -> ArticleCell:
    return ArticleCell(value=share, interval=(max(0.0, share - _Z * error), min(1.0, share + _Z * error)))


def _row(one: Measured, by_seed: Sequence[Mapping[str, ArticleCell]]) -> ArticleRow:
    result = one.results[0]
    return ArticleRow(
        method=one.method,
        model=one.model,
        extra_data=one.extra,
        train_size=one.size,
        test_size=one.size,
        seeds=one.seeds,
        images=result.count,
        cells={name: _over_seeds([cells[name] for cells in by_seed if name in cells], result) for name in by_seed[0]},
    )


def _over_seeds(cells: Sequence[ArticleCell], result: RobustnessResult) -> ArticleCell:
    """The mean over seeds, with the variance over images that the cells' own intervals stand for."""
    if len(cells) == 1:
        return cells[0]
    values = [cell.value for cell in cells]
    widths = [(cell.interval[1] - cell.interval[0]) / 2 / _Z for cell in cells if cell.interval]
    if len(widths) < len(values):
        return ArticleCell(value=sum(values) / len(values), by_seed=tuple(values))
    return mean_cell(values, sum(width**2 for width in widths) / len(widths), result.count)
