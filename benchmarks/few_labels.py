"""A few labels of a real data set, the rest as the pile: what the control, every student and the verdict come to.

    python benchmarks/few_labels.py sign-digits --labels 10 --seeds 3 --json rows.json
    python benchmarks/few_labels.py fashion --labels 20 --pile 6000 --seeds 3
    python benchmarks/few_labels.py digits --labels 4 --development --seeds 5
    python benchmarks/few_labels.py fashion --quick

Labeled images are drawn stratified from the training part with the seed; the pile is the rest without its labels, up
to ``--pile`` images; the test part only reports. Reads ``../shared/data`` and skips with a message where it is
absent. Further words are settings, such as ``--set train.steps=500``.

``--development`` is for choosing settings: it never opens the test part. Seeds start at 1,000, and images of the
training part that are neither labeled nor in the pile stand in for the test. The digits, which have no training part of
their own, are only for that: their test of seed 0 and up is ``noisystudent demo``.
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
from noisystudent.runtime.env import describe_machine, versions
from splits import Drawing, is_missing, write_split

SETTINGS: dict[str, dict[str, Any]] = {
    "digits": noisystudent.commands.demo.SETTINGS,
    "sign-digits": {"data.size": 32, "model.teacher": "tiny_resnet"},
    "fashion": {"data.size": 28, "model.teacher": "tiny_resnet"},
    "cifar10": {"data.size": 32, "model.teacher": "tiny_resnet", "noise.flip": True},
}
QUICK = {"train.steps": 5, "train.batch_size": 16, "rounds.count": 1, "noise.strength": 0.25}


def run_seed(name: str, seed: int, given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """One run; returns its summary."""
    folder = work / f"{name}-{given.labels}-{seed}"
    drawing = Drawing(labels=given.labels, pile=given.pile, seed=seed, development=given.development)
    sources = write_split(name, drawing, folder)
    settings = {**SETTINGS[name], **(QUICK if given.quick else {}), **dict(each.split("=", 1) for each in given.set)}
    return noisystudent.run(**sources, out=str(folder / "run"), settings={**settings, "seed": seed})


def scores_of(summary: dict[str, Any]) -> dict[str, float]:
    """Test accuracy of everyone in a run, in the order of the story."""
    everyone = [summary["teacher"], summary["control"], *summary["rounds"], summary["student"]]
    return {each["name"]: each["test"]["top1"] for each in everyone if each}


def rows_of(name: str, summaries: list[dict[str, Any]], given: argparse.Namespace) -> list[dict[str, Any]]:
    """Mean test accuracy over seeds of everyone in the runs, with the range over seeds."""
    scores = [scores_of(summary) for summary in summaries]
    rows: list[dict[str, Any]] = []
    for role in scores[0]:
        values = np.array([each[role] for each in scores])
        control = np.array([each.get("control", np.nan) for each in scores])
        rows.append(
            {
                "name": f"{name}, {given.labels} labels a class: {role}",
                "value": round(float(values.mean()), 4),
                "unit": "top-1",
                "versus": "control",
                "ratio": round(float((values / control).mean()), 4),
                "seeds": len(summaries),
                "interval": [float(values.min()), float(values.max())],
                "samples_seen": summaries[0]["student"]["samples_seen"],
                "seconds": round(float(np.mean([summary["student"]["seconds"] for summary in summaries])), 1),
                "machine": describe_machine(),
                "versions": versions(),
            }
        )
    return rows


def verdict_line(summary: dict[str, Any]) -> str:
    """One run's verdict: decision, student minus control in points, its paired interval."""
    verdict = summary["verdict"]
    if verdict["difference"] is None:
        return f"seed {summary['seed']}: {verdict['decision']}"
    low, high = (100 * bound for bound in verdict["interval"])
    by = f"student minus control {100 * verdict['difference']:+.1f} points ({low:+.1f} to {high:+.1f})"
    return f"seed {summary['seed']}: {verdict['decision']}, {by}, p {verdict['p_value']:.2g}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=SETTINGS)
    parser.add_argument("--labels", type=int, default=10, help="labeled images a class")
    parser.add_argument("--pile", type=int, default=0, help="most unlabeled images; 0 = all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--development", action="store_true", help="choose settings without the test part")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the run")
    parser.add_argument("--work", type=Path, help="where to work, to resume later (default: a folder that is removed)")
    parser.add_argument("--quick", action="store_true", help="a few steps, one seed: only shows that it runs")
    parser.add_argument("--json", type=Path, help="write the rows there")
    given = parser.parse_args()
    if given.data == "digits" and not given.development:
        parser.error("digits needs --development; for the test of seeds 0 and up run 'noisystudent demo --seeds 5'")
    if is_missing(given.data):
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work or Path(temporary)
        first = given.first_seed + (1000 if given.development else 0)
        seeds = range(first, first + (1 if given.quick else given.seeds))
        summaries = [run_seed(given.data, seed, given, work) for seed in seeds]
        rows = rows_of(given.data, summaries, given)
    for row in rows:
        low, high = row["interval"]
        print(f"{row['name']:<48} {100 * row['value']:.1f} ({100 * low:.1f} to {100 * high:.1f})  {row['seconds']} s")
    print("\n".join(verdict_line(summary) for summary in summaries))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
