"""What training rounds do to robustness: control, teacher and every student of the same runs, on the same images.

    python benchmarks/robustness.py digits fashion cifar10 --work FOLDER --json rows.json --plot docs/robustness
    python benchmarks/robustness.py digits --quick

Killed and called again, it goes on in FOLDER.

A run for each seed, whose suite is measured on test images: clean accuracy, error under ImageNet-C's corruptions,
flips along ImageNet-P's sequences, accuracy under FGSM and PGD, and calibration. All of it is generated from the test
images; frost where its textures are (--set evaluation.frost_textures=FOLDER, or the package imagecorruptions-imaug).
Reads ``../shared/data`` for Fashion-MNIST and CIFAR-10 and skips with a message where that is absent.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import noisystudent
import noisystudent.commands.demo
from noisystudent.reporting.read import parse_robustness
from noisystudent.reporting.robustness.figures import figures
from noisystudent.reporting.standalone import standalone
from noisystudent.runtime.env import describe_machine, versions
from splits import Drawing, is_missing, write_split

SUITE: dict[str, Any] = {
    "evaluation.suite": ["clean", "calibration", "corruptions", "perturbations", "attacks"],
    "evaluation.max_images": 500,
}
FAST = {"runtime.precision": "bfloat16", "runtime.threads": 1, "noise.strength": 0.25, "model.teacher": "tiny_resnet"}
SETTINGS: dict[str, dict[str, Any]] = {
    "digits": noisystudent.commands.demo.SETTINGS,
    "fashion": {**FAST, "data.size": 16, "noise.flip": True, "rounds.count": 3},
    "cifar10": {**FAST, "data.size": 24, "noise.flip": True, "rounds.count": 3, "train.steps": 1000},
}
LABELS = {"digits": 4, "fashion": 20, "cifar10": 100}  # a class
PILE = 15_000
QUICK = {
    "train.steps": 5,
    "train.batch_size": 16,
    "rounds.count": 1,
    "evaluation.max_images": 20,
    "evaluation.corruptions": ["contrast", "fog"],
    "evaluation.perturbations": ["rotate"],
    "evaluation.epsilons": [1, 4],
}

CHARTS = {  # by the beginnings of their titles
    "corruptions": "Error by corruption",
    "fgsm": "Accuracy under FGSM",
    "pgd": "Accuracy under PGD",
    "calibration": "Calibration error<",
}

Numbers = dict[str, float]


def run_seed(name: str, seed: int, given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """One run with its suite; returns its summary."""
    folder = work / (f"digits-{seed}" if name == "digits" else f"{name}-{LABELS[name]}-{seed}")
    if name == "digits":
        sources = {role: f"digits:{role}@{seed}" for role in ("labeled", "unlabeled", "test")}
    else:
        sources = write_split(name, Drawing(LABELS[name], PILE, seed), folder)
    told = dict(each.split("=", 1) for each in given.set)
    settings = {**SETTINGS[name], **SUITE, **(QUICK if given.quick else {}), **told, "seed": seed}
    return noisystudent.run(**sources, out=str(folder / "run"), settings=settings)


def numbers_of(told: dict[str, Any]) -> Numbers:
    """One classifier's measures by name; accuracies, errors and calibration errors are fractions."""
    corruptions, calibration = told["corruptions"], told["calibration"]
    found = {
        "accuracy, clean": told["clean"]["top1"],
        f"accuracy under {len(corruptions['errors'])} corruptions": 1 - mean_error(corruptions),
        "flips along sequences": float(
            np.mean([each["flip_probability"] for each in told["perturbations"]["perturbations"].values()])
        ),
    }
    for row in told["attacks"]["curve"]:
        found |= {f"accuracy, {attack.upper()} {row['epsilon']:g}/255": row[attack] for attack in ("fgsm", "pgd")}
    strongest = max(calibration["corrupted"], key=int)
    for place, each in {"clean": calibration, f"severity {strongest}": calibration["corrupted"][strongest]}.items():
        found |= {f"ECE, {place}": each["plain"]["ece"], f"ECE, {place}, scaled": each["scaled"]["ece"]}
    return found


def mean_error(corruptions: dict[str, Any]) -> float:
    """The mean error over all conditions that were measured."""
    return float(np.mean([list(by_severity.values()) for by_severity in corruptions["errors"].values()]))


def rows_of(name: str, summaries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every measure of everyone: its mean over seeds, and the difference to the control with its range over seeds."""
    found = [
        {who: numbers_of(told) for who, told in summary["robustness"]["measured"].items()} for summary in summaries
    ]
    rows: list[dict[str, Any]] = []
    for who in found[0]:
        for measure in found[0][who]:
            values = np.array([each[who][measure] for each in found])
            against = values - [each["control"][measure] for each in found]
            rows.append(
                {
                    "name": f"{name}, {LABELS[name]} labels a class: {who}: {measure}",
                    "value": round(float(values.mean()), 4),
                    "unit": "fraction",
                    "versus": "control",
                    "difference": round(float(against.mean()), 4),
                    "interval": [round(float(against.min()), 4), round(float(against.max()), 4)],
                    "seeds": len(summaries),
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


def paired_lines(summaries: list[dict[str, Any]]) -> list[str]:
    """The last student minus the control in each seed, with the paired 95% intervals over images."""
    lines = []
    for summary in summaries:
        last = [name for name in summary["robustness"]["measured"] if name.startswith("round")][-1]
        difference = summary["robustness"]["differences"][last]
        parts = []
        for what in ("clean", "corruptions"):
            low, high = (100 * bound for bound in difference[what]["interval"])
            parts.append(f"{what} {100 * difference[what]['difference']:+.1f} ({low:+.1f} to {high:+.1f})")
        lines.append(f"seed {summary['seed']}: {last} minus control, points: {', '.join(parts)}")
    return lines


def mean_of(several: list[Any]) -> Any:  # noqa: ANN401 - JSON values
    """JSON values of one form as one: numbers become their means, and of all else the first is taken."""
    first = several[0]
    if isinstance(first, dict):
        return {key: mean_of([each[key] for each in several]) for key in first}
    if isinstance(first, list):
        return [mean_of(list(each)) for each in zip(*several, strict=True)]
    return float(np.mean(several)) if isinstance(first, float) else first


def write_charts(name: str, summaries: list[dict[str, Any]], folder: Path) -> None:
    """The means over seeds, drawn as on a run's page: error by corruption, accuracy under each attack, calibration."""
    measured = [summary["robustness"]["measured"] for summary in summaries]
    told = parse_robustness({"first": "control", "measured": mean_of(measured)})
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {str(chart).partition("<title>")[2]: chart for part in figures(told).values() for chart in part}
    for file, title in CHARTS.items():
        chart = next(chart for text, chart in drawn.items() if text.startswith(title))
        (folder / f"{name}-{file}.svg").write_text(standalone(chart))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", choices=SETTINGS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the runs")
    parser.add_argument("--work", type=Path, help="where to work, to resume later (default: a folder that is removed)")
    parser.add_argument("--quick", action="store_true", help="a few steps, one seed: only shows that it runs")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="write charts there")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        seeds = range(given.first_seed, given.first_seed + (1 if given.quick else given.seeds))
        for name in given.data:
            if is_missing(name):
                continue
            summaries = [run_seed(name, seed, given, work) for seed in seeds]
            found = rows_of(name, summaries)
            print_rows(found)
            print("\n".join(paired_lines(summaries)))
            rows += found
            if given.plot:
                write_charts(name, summaries, given.plot)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
