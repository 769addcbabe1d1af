"""An ablation of the noise: one round of Noisy Student without RandAugment, without dropout, and so on.

    python benchmarks/ablation.py fashion --json rows.json
    python benchmarks/ablation.py cifar10 --seeds 3
    python benchmarks/ablation.py fashion --students "full noise" "unlabeled without noise"
    python benchmarks/ablation.py fashion --quick

This follows the paper's study of noise (Xie et al., 2020, section 4.1). One teacher, trained under full noise, gives
soft labels to all unlabeled images. Students of its architecture differ only in their noise; "noised teacher" has full
noise, but its labels come from a teacher that saw noised images. The paper removes the noise of the unlabeled images
only, as the two students "unlabeled without ..." do; all others have the same noise on all of their images. Every
number is top-1 on the test part, which chose nothing. Differences are to the teacher of the same seed.
``--development`` and ``--set`` are as in few_labels.py.
The CIFAR-10 images are saved as JPEG of quality 75, so the numbers are not comparable with published CIFAR-10 numbers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import noisystudent
from noisystudent.runtime.env import describe_machine, versions
from splits import Drawing, is_missing, write_split

SHARED_SETTINGS: dict[str, Any] = {
    "data.validation_fraction": 0,
    "model.teacher": "tiny_resnet",
    "noise.flip": True,
    "noise.strength": 0.25,
}
SETTINGS: dict[str, dict[str, Any]] = {"fashion": {"data.size": 16}, "cifar10": {"data.size": 24}}
PLAIN_UNLABELED = {"noise.unlabeled.strength": 0, "noise.unlabeled.flip": False}
STUDENTS: dict[str, dict[str, Any]] = {
    "full noise": {},
    "without RandAugment": {"noise.randaugment": False},
    "without dropout": {"noise.dropout": 0},
    "without stochastic depth": {"noise.stochastic_depth": 0},
    "no noise": {"noise.preset": "none", "noise.strength": 0, "noise.flip": False},
    "unlabeled without augmentation": PLAIN_UNLABELED,
    "unlabeled without noise": {
        **PLAIN_UNLABELED,
        "noise.unlabeled.dropout": 0,
        "noise.unlabeled.stochastic_depth": 0,
    },
    "noised teacher": {},
}
QUICK = {"train.steps": 5, "train.batch_size": 16}
QUICK_STUDENTS, QUICK_UNLABELED = ("without dropout", "noised teacher"), 200


def run_seed(name: str, seed: int, options: argparse.Namespace, work: Path) -> dict[str, float]:
    """Test accuracy of the teacher and of every student."""
    folder = work / f"{name}-{seed}"
    unlabeled_count = QUICK_UNLABELED if options.quick else options.unlabeled
    sources = write_split(name, Drawing(options.labels, unlabeled_count, seed, options.development), folder)
    settings = {**SHARED_SETTINGS, **SETTINGS[name], **(QUICK if options.quick else {})}
    settings |= {"seed": seed, **dict(setting.split("=", 1) for setting in options.set)}
    runtime = {key: value for key, value in settings.items() if key.startswith("runtime.")}
    labeled, unlabeled = sources["labeled"], sources["unlabeled"]

    teacher = folder / "teacher"
    noisystudent.train(labeled=labeled, out=teacher, settings=settings)
    plain = label_unlabeled(teacher, unlabeled, folder / "plain", settings, noised=False)
    noised = label_unlabeled(teacher, unlabeled, folder / "noised", settings, noised=True)
    checkpoints = {"teacher": teacher}
    for role in QUICK_STUDENTS if options.quick else options.students:
        checkpoints[role] = folder / role.replace(" ", "-")
        noisystudent.train(
            labeled=labeled,
            unlabeled=unlabeled,
            out=checkpoints[role],
            settings={**settings, "objective.labels": "soft", **STUDENTS[role]},
            **(noised if role == "noised teacher" else plain),
        )
    accuracies = {}
    for role, checkpoint in checkpoints.items():
        scores = noisystudent.evaluate(checkpoint=checkpoint, source=sources["test"], settings=runtime)
        accuracies[role] = scores.top1
        print(f"{name}, seed {seed}, {role}: {100 * accuracies[role]:.2f}", flush=True)
    return accuracies


def label_unlabeled(
    teacher: Path, unlabeled: str, out: Path, settings: dict[str, Any], *, noised: bool
) -> dict[str, Path]:
    """The teacher's soft labels for all unlabeled images, as ``train`` takes them."""
    sections = ("runtime.", "noise.") if noised else ("runtime.",)
    label_settings = {name: value for name, value in settings.items() if name.startswith(sections)}
    predictions, selection = out / "predictions", out / "selection"
    noisystudent.label(
        teacher=teacher,
        source=unlabeled,
        out=predictions,
        seed=settings["seed"],
        settings={**label_settings, "noise.teacher": noised},
    )
    noisystudent.select(predictions=predictions, out=selection, settings={"selection.fraction": 1.0})
    return {"predictions": predictions, "selection": selection}


def rows_of(name: str, scores: list[dict[str, float]], seconds: float) -> list[dict[str, Any]]:
    """Mean accuracy and mean difference to the teacher over seeds, with the range of the differences."""
    rows = []
    for role in scores[0]:
        differences = [100 * (accuracies[role] - accuracies["teacher"]) for accuracies in scores]
        rows.append(
            {
                "name": f"{name}: {role}",
                "value": round(float(np.mean([accuracies[role] for accuracies in scores])), 4),
                "unit": "top-1",
                "versus": "teacher, points",
                "ratio": round(float(np.mean(differences)), 2),
                "seeds": len(scores),
                "interval": [round(min(differences), 2), round(max(differences), 2)],
                "seconds": round(seconds),
                "machine": describe_machine(),
                "versions": versions(),
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=SETTINGS)
    parser.add_argument("--labels", type=int, default=100, help="labeled images per class")
    parser.add_argument("--unlabeled", type=int, default=15_000, help="largest number of unlabeled images; 0 = all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--students", nargs="+", choices=STUDENTS, default=list(STUDENTS), metavar="NAME")
    parser.add_argument("--development", action="store_true", help="for choosing settings: never opens the test part")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of every stage")
    parser.add_argument("--work", type=Path, help="folder for the work, to resume later (default: a temporary folder)")
    parser.add_argument("--quick", action="store_true", help="a few steps, two students, one seed: a smoke test")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if is_missing(options.data):
        return 0
    start, first = time.monotonic(), 1000 if options.development else 0
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        seeds = range(first, first + (1 if options.quick else options.seeds))
        scores = [run_seed(options.data, seed, options, work) for seed in seeds]
    rows = rows_of(options.data, scores, time.monotonic() - start)
    for row in rows:
        low, high = row["interval"]
        change = f"{row['ratio']:+.2f} ({low:+.2f} to {high:+.2f})"
        print(f"{row['name']:<36} {100 * row['value']:.1f}  points above the teacher: {change}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
