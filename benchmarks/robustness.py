"""Robustness over training rounds: control, teacher and every student of the same runs, on the same images.

    python benchmarks/robustness.py digits fashion cifar10 --work FOLDER --json rows.json --plot docs/robustness
    python benchmarks/robustness.py digits --quick

After an interruption the same command resumes in FOLDER.

Each seed is one run, whose suite measures on test images: clean accuracy, error under ImageNet-C's corruptions, flips
along ImageNet-P's sequences, accuracy under FGSM and PGD, and calibration. All conditions are generated from the test
images. Frost needs its textures (--set evaluation.frost_textures=FOLDER, or the package imagecorruptions-imaug). For
Fashion-MNIST and CIFAR-10 the benchmark reads ``../shared/data`` and skips with a message if it is missing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import noisystudent
import noisystudent.commands.demo
from noisystudent.artifacts.typed_json import from_json, to_json
from noisystudent.evaluation.results import ComparisonResult, RobustnessResult
from noisystudent.reporting.robustness import robustness_charts
from noisystudent.reporting.standalone import standalone
from noisystudent.runtime.env import describe_machine, versions
from splits import Drawing, is_missing, write_split

SUITE: dict[str, Any] = {
    "evaluation.suite": ["clean", "calibration", "corruptions", "perturbations", "attacks"],
    "evaluation.max_images": 500,
}
FAST = {"runtime.threads": 1, "noise.strength": 0.25, "model.teacher": "tiny_resnet"}
SETTINGS: dict[str, dict[str, Any]] = {
    "digits": noisystudent.commands.demo.SETTINGS,
    "fashion": {**FAST, "data.size": 16, "noise.flip": True, "rounds.count": 3},
    "cifar10": {**FAST, "data.size": 24, "noise.flip": True, "rounds.count": 3, "train.steps": 1000},
}
LABELS = {"digits": 4, "fashion": 20, "cifar10": 100}  # per class
UNLABELED = 15_000
QUICK = {
    "train.steps": 5,
    "train.batch_size": 16,
    "rounds.count": 1,
    "evaluation.max_images": 20,
    "evaluation.corruptions": ["contrast", "fog"],
    "evaluation.perturbations": ["rotate"],
    "evaluation.epsilons": [1, 4],
}

CHARTS = {  # file name: start of the title
    "corruptions": "Error by corruption",
    "fgsm": "Accuracy under FGSM",
    "pgd": "Accuracy under PGD",
    "calibration": "Calibration error<",
}

Numbers = dict[str, float]


def run_seed(name: str, seed: int, options: argparse.Namespace, work: Path) -> ComparisonResult:
    """The robustness of all models of one run."""
    folder = work / (f"digits-{seed}" if name == "digits" else f"{name}-{LABELS[name]}-{seed}")
    if name == "digits":
        sources = {role: f"digits:{role}@{seed}" for role in ("labeled", "unlabeled", "test")}
    else:
        sources = write_split(name, Drawing(LABELS[name], UNLABELED, seed), folder)
    changes = dict(setting.split("=", 1) for setting in options.set)
    settings = {
        "budget": "none",
        **SETTINGS[name],
        **SUITE,
        **(QUICK if options.quick else {}),
        **changes,
        "seed": seed,
    }
    robustness = noisystudent.run(**sources, out=folder / "run", settings=settings).summary.robustness
    assert robustness, "evaluation.suite is set"
    return robustness


def measures_of(result: RobustnessResult) -> Numbers:
    """One model's measures by name; accuracies, errors and calibration errors are fractions."""
    corruptions, calibration = result.corruptions, result.calibration
    perturbations, attacks = result.perturbations, result.attacks
    assert corruptions
    assert calibration
    assert perturbations
    assert attacks
    errors = [error for by_severity in corruptions.errors.values() for error in by_severity.values()]
    flips = [stability.flip_probability for stability in perturbations.perturbations.values()]
    numbers = {
        "accuracy, clean": result.clean.top1,
        f"accuracy under {len(corruptions.errors)} corruptions": 1 - float(np.mean(errors)),
        "flips along sequences": float(np.mean(flips)),
    }
    for point in attacks.curve:
        numbers[f"accuracy, FGSM {point.epsilon:g}/255"] = point.fgsm
        numbers[f"accuracy, PGD {point.epsilon:g}/255"] = point.pgd
    strongest = max(calibration.corrupted)
    conditions = {"clean": calibration, f"severity {strongest}": calibration.corrupted[strongest]}
    for name, condition in conditions.items():
        numbers |= {f"ECE, {name}": condition.plain.ece, f"ECE, {name}, scaled": condition.scaled.ece}
    return numbers


def rows_of(name: str, seeds: Sequence[int], comparisons: list[ComparisonResult]) -> list[dict[str, Any]]:
    """Every measure of every model: the mean over seeds, and the difference to the control with its range."""
    by_seed = [
        {model: measures_of(result) for model, result in comparison.measured.items()} for comparison in comparisons
    ]
    rows: list[dict[str, Any]] = []
    for model in by_seed[0]:
        for measure in by_seed[0][model]:
            values = np.array([numbers[model][measure] for numbers in by_seed])
            difference = values - [numbers["control"][measure] for numbers in by_seed]
            rows.append(
                {
                    "name": f"{name}, {LABELS[name]} labels per class: {model}: {measure}",
                    "value": round(float(values.mean()), 4),
                    "unit": "fraction",
                    "versus": "control",
                    "difference": round(float(difference.mean()), 4),
                    "interval": [round(float(difference.min()), 4), round(float(difference.max()), 4)],
                    "seeds": len(seeds),
                    "machine": describe_machine(),
                    "versions": versions(),
                }
            )
    return rows


def print_rows(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        low, high = (100 * bound for bound in row["interval"])
        difference = f"{100 * row['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
        print(f"{row['name']:<76} {100 * row['value']:>5.1f}  {difference if row['difference'] else ''}")


def paired_line(seed: int, comparison: ComparisonResult) -> str:
    """The last student minus the control for one seed, with the paired 95% intervals over images."""
    last = [model for model in comparison.measured if model.startswith("round")][-1]
    difference = comparison.differences[last]
    parts = []
    for name, paired in (("clean", difference.clean), ("corruptions", difference.corruptions)):
        assert paired, "the suite measures corruptions"
        low, high = (100 * bound for bound in paired.interval)
        parts.append(f"{name} {100 * paired.difference:+.1f} ({low:+.1f} to {high:+.1f})")
    return f"seed {seed}: {last} minus control, points: {', '.join(parts)}"


def mean_of(values: list[Any]) -> Any:  # noqa: ANN401 - JSON values
    """The mean of JSON values with the same structure: floats are averaged; other values come from the first one."""
    first = values[0]
    if isinstance(first, dict):
        return {key: mean_of([value[key] for value in values]) for key in first}
    if isinstance(first, list):
        return [mean_of(list(entries)) for entries in zip(*values, strict=True)]
    return float(np.mean(values)) if isinstance(first, float) else first


def write_charts(name: str, comparisons: list[ComparisonResult], folder: Path) -> None:
    """Draws the means over seeds as on a run's page: error by corruption, accuracy under each attack, calibration."""
    mean = from_json(ComparisonResult, mean_of([to_json(comparison) for comparison in comparisons]), "the mean")
    folder.mkdir(parents=True, exist_ok=True)
    charts = [chart for measure in robustness_charts(mean).values() for chart in measure]
    by_title = {str(chart).partition("<title>")[2]: chart for chart in charts}
    for file, title in CHARTS.items():
        chart = next(chart for text, chart in by_title.items() if text.startswith(title))
        (folder / f"{name}-{file}.svg").write_text(standalone(chart))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", choices=SETTINGS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the runs")
    parser.add_argument("--work", type=Path, help="folder for the work, to resume later (default: a temporary folder)")
    parser.add_argument("--quick", action="store_true", help="a few steps, one seed: a smoke test")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="write charts to this folder")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        seeds = range(options.first_seed, options.first_seed + (1 if options.quick else options.seeds))
        for name in options.data:
            if is_missing(name):
                continue
            comparisons = [run_seed(name, seed, options, work) for seed in seeds]
            measured = rows_of(name, seeds, comparisons)
            print_rows(measured)
            for seed, comparison in zip(seeds, comparisons, strict=True):
                print(paired_line(seed, comparison))
            rows += measured
            if options.plot:
                write_charts(name, comparisons, options.plot)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
