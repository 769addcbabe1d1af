"""Noisy Student training with few labels of a real data set: control, teacher, every student and the verdict.

    python benchmarks/few_labels.py sign-digits --labels 10 --seeds 3 --json rows.json
    python benchmarks/few_labels.py fashion --labels 20 --unlabeled 6000 --seeds 3
    python benchmarks/few_labels.py digits --labels 4 --development --seeds 5
    python benchmarks/few_labels.py fashion --quick

A stratified draw with the seed takes the labeled images from the training part. The unlabeled images are the rest
without its labels, at most ``--unlabeled`` of them. The test part only reports. The benchmark reads ``../shared/data``
and skips with a message if it is missing. ``--set`` changes settings, for example ``--set train.steps=500``.

``--development`` is for choosing settings: it never opens the test part. Its seeds start at 1,000, and images of the
training part that are neither labeled nor unlabeled ones replace the test images. The digits have no separate training
part and allow development only; for their test images of seed 0 and up, run ``noisystudent demo``.
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
from noisystudent.results.run import RunSummary
from noisystudent.runtime.env import describe_machine, versions
from splits import Drawing, is_missing, write_split

SETTINGS: dict[str, dict[str, Any]] = {
    "digits": noisystudent.commands.demo.SETTINGS,
    "sign-digits": {"data.size": 32, "model.teacher": "tiny_resnet"},
    "fashion": {"data.size": 28, "model.teacher": "tiny_resnet"},
    "cifar10": {"data.size": 32, "model.teacher": "tiny_resnet", "noise.flip": True},
}
QUICK = {"train.steps": 5, "train.batch_size": 16, "rounds.count": 1, "noise.strength": 0.25}


def run_seed(name: str, seed: int, options: argparse.Namespace, work: Path) -> RunSummary:
    """One run; returns its summary."""
    folder = work / f"{name}-{options.labels}-{seed}"
    drawing = Drawing(options.labels, options.unlabeled, seed, options.development)
    sources = write_split(name, drawing, folder)
    settings = {
        "budget": "none",
        **SETTINGS[name],
        **(QUICK if options.quick else {}),
        **dict(setting.split("=", 1) for setting in options.set),
    }
    return noisystudent.run(**sources, out=folder / "run", settings={**settings, "seed": seed}).summary


def scores_of(summary: RunSummary) -> dict[str, float]:
    """Test accuracy of every model of a run, in the order of training."""
    models = [summary.teacher, summary.control, *summary.rounds, summary.student]
    return {model.name: model.test.top1 for model in models if model and model.test}


def rows_of(name: str, summaries: list[RunSummary], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Mean test accuracy over seeds of every model of the runs, with the range over seeds."""
    scores = [scores_of(summary) for summary in summaries]
    rows: list[dict[str, Any]] = []
    for role in scores[0]:
        values = np.array([accuracies[role] for accuracies in scores])
        control = np.array([accuracies.get("control", np.nan) for accuracies in scores])
        rows.append(
            {
                "name": f"{name}, {options.labels} labels per class: {role}",
                "value": round(float(values.mean()), 4),
                "unit": "top-1",
                "versus": "control",
                "ratio": round(float((values / control).mean()), 4),
                "seeds": len(summaries),
                "interval": [float(values.min()), float(values.max())],
                "samples_seen": summaries[0].student.samples_seen,
                "seconds": round(float(np.mean([summary.student.seconds for summary in summaries])), 1),
                "machine": describe_machine(),
                "versions": versions(),
            }
        )
    return rows


def verdict_line(summary: RunSummary) -> str:
    """One run's verdict: the decision, student minus control in points, and the paired interval."""
    verdict = summary.verdict
    if verdict.difference is None or verdict.interval is None:
        return f"seed {summary.seed}: {verdict.decision}"
    low, high = (100 * bound for bound in verdict.interval)
    difference = f"student minus control {100 * verdict.difference:+.1f} points ({low:+.1f} to {high:+.1f})"
    return f"seed {summary.seed}: {verdict.decision}, {difference}, p {verdict.p_value:.2g}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=SETTINGS)
    parser.add_argument("--labels", type=int, default=10, help="labeled images per class")
    parser.add_argument("--unlabeled", type=int, default=0, help="largest number of unlabeled images; 0 = all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--development", action="store_true", help="for choosing settings: never opens the test part")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the run")
    parser.add_argument("--work", type=Path, help="folder for the work, to resume later (default: a temporary folder)")
    parser.add_argument("--quick", action="store_true", help="a few steps, one seed: a smoke test")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if options.data == "digits" and not options.development:
        parser.error("digits needs --development; for the test of seeds 0 and up run 'noisystudent demo --seeds 5'")
    if is_missing(options.data):
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        first = options.first_seed + (1000 if options.development else 0)
        seeds = range(first, first + (1 if options.quick else options.seeds))
        summaries = [run_seed(options.data, seed, options, work) for seed in seeds]
        rows = rows_of(options.data, summaries, options)
    for row in rows:
        low, high = row["interval"]
        print(f"{row['name']:<48} {100 * row['value']:.1f} ({100 * low:.1f} to {100 * high:.1f})  {row['seconds']} s")
    print("\n".join(verdict_line(summary) for summary in summaries))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
